"""Pure text rules: no torch, no I/O."""
