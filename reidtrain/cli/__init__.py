"""The command line: parses, calls one function, prints one summary. Heavy libraries are imported inside commands."""

from __future__ import annotations

from reidtrain.cli import drawing, evaluating, reporting, training
from reidtrain.cli.shell import app

__all__ = ["app", "drawing", "evaluating", "reporting", "training"]
