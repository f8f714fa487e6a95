"""Transformations that make one table each; each registers by one line in STEPS."""
