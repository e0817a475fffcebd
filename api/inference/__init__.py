"""Requests that are answered with their results: a small job each, which nobody sees and which is gone afterwards."""
