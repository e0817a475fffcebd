"""The contract of HTTP, version 1."""
