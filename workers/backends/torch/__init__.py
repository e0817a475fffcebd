"""Models on PyTorch, by the transformers library."""
