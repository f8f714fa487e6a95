"""The command line: parses, calls one function, prints one summary. Heavy libraries are imported inside commands."""

from __future__ import annotations

from reidsynth.cli import (
    auditing,
    building,
    captioning,
    checking,
    measuring,
    planning,
    publishing,
    selecting,
    training,
    verifying,
)
from reidsynth.cli.shell import app

__all__ = [
    "app",
    "auditing",
    "building",
    "captioning",
    "checking",
    "measuring",
    "planning",
    "publishing",
    "selecting",
    "training",
    "verifying",
]
