"""Files of documents and of results: one file a format."""
