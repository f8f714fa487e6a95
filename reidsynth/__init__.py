"""Builds multimodal person re-identification data sets: reads, synthesises, checks, publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from reidsynth.manifest import Manifest

__version__ = "0.1.0"


def open_manifest(path: str | Path) -> Manifest:
    """Open a manifest: a folder, or a repository on the Hub, which is downloaded into the Hub client's cache.

    Args:
        path: a folder; or `owner/name`, `owner/name@revision`, `hf://datasets/owner/name`. What is spelled like a
            repository is one only where neither it nor the folder above it exists here.

    Raises:
        UserError: see `reidsynth.manifest.open_manifest` and `reidsynth.hub.fetch`.
    """
    from reidsynth.errors import UserError
    from reidsynth.hub import fetch, is_repository
    from reidsynth.manifest import open_manifest as opened

    if not is_repository(path):
        return opened(path)
    try:
        return opened(fetch(str(path)))
    except UserError as error:
        raise UserError(f"{path} is no folder here, and as a repository: {error}") from error
