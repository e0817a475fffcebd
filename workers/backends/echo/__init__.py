"""The stand-in for a model."""
