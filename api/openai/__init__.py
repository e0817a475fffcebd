"""OpenAI's contract of files, batches and a few synchronous calls, over Textmill's jobs."""
