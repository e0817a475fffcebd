"""What people run today, at its best settings: the other side of each comparison."""
