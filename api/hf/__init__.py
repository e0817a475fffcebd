"""The Inference API of `huggingface_hub`, over Textmill's own jobs."""
