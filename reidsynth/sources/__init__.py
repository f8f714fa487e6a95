"""Readers of data sets as their owners ship them; each registers by one line in SOURCES."""
