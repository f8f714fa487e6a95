"""Builds multimodal person re-identification data sets: reads, synthesises, checks, publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from reidsynth.manifest import Manifest

__version__ = "0.1.0"


def open_manifest(path: str | Path) -> Manifest:
    """Open a manifest folder; see `reidsynth.manifest.open_manifest`."""
    from reidsynth.manifest import open_manifest as opened

    return opened(path)
