"""What runs models: one folder a backend."""
