"""What happens when everybody comes at once: `python -m benchmarks.overload`."""
