"""Trains, evaluates and searches with multimodal person re-identification models."""

__version__ = "0.1.0"
