"""A model's files, as every backend that runs transformers checkpoints reads them."""
