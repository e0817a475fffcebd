"""Files -> documents, results -> files: one module a format."""
