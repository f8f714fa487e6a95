"""The models; each registers by one line in MODELS."""
