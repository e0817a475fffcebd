"""A leased shard's way through the process, and the keeper of its lease."""
