"""Textmill inside other people's frameworks, a module each, each with an extra of its own: the client knows none."""
