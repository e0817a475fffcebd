"""What runs one kind of model on a device."""
