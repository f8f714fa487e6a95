"""Weights by hub name or local path: found, or missed in one sentence; named by their checksum in the manifest.

A parameter `model` holds a file, a folder, or the name of a Hugging Face repository, `owner/name` or
`owner/name@revision`. Files that are there already are taken without a look at the network.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidsynth.errors import UserError
from reidsynth.storage import sha256_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_PROBE_SECONDS = 5.0
_DECIDING = (".safetensors", ".bin", ".onnx", ".pth", ".pt", ".json", ".txt", ".model", ".jinja")
"""Files of a pipeline's folder that decide what it makes."""


def find_file(weights: str, filename: str, *, purpose: str) -> Path:
    """Find one file of weights.

    Args:
        weights: the file itself, a folder that holds `filename`, or the name of a hub repository that does.
        filename: name under which its authors publish it.
        purpose: who needs it, in messages.

    Raises:
        UserError: when it is in none of these places; the message names the file to provide.
    """
    place = Path(weights).expanduser()
    if place.is_file():
        return place
    if place.is_dir():
        if (place / filename).is_file():
            return place / filename
        there = ", ".join(sorted(path.name for path in place.iterdir())[:5]) or "nothing"
        raise UserError(f"{purpose} needs the file {filename} in {weights!r}, which holds {there}: put it there")
    name, revision = _hub_name(weights, purpose, filename)
    try:
        return Path(_cached_file(name, filename, revision))
    except OSError:  # not in the cache: the hub's error for that is a FileNotFoundError
        return Path(_fetched(lambda: _hub_file(name, filename, revision), weights, purpose, filename))


def find_folder(weights: str, *, purpose: str) -> Path:
    """Find a diffusers pipeline.

    Args:
        weights: a folder that holds `model_index.json`, or the name of a hub repository that does.
        purpose: who needs it, in messages.

    Raises:
        UserError: when there is none; the message names what to provide.
    """
    return _saved(weights, purpose, ("model_index.json", "config.json"), "diffusers", "pipeline", _hub_folder)


def find_snapshot(weights: str, *, purpose: str) -> Path:
    """Find a transformers model.

    Args:
        weights: a folder that holds `config.json`, or the name of a hub repository that does.
        purpose: who needs it, in messages.

    Raises:
        UserError: when there is none; the message names what to provide.
    """
    return _saved(weights, purpose, ("config.json",), "transformers", "model", _snapshot)


def _saved(
    weights: str, purpose: str, wanted: tuple[str, ...], library: str, what: str, folder_of: Callable[..., str]
) -> Path:
    """Find a folder that a library saved.

    Args:
        weights: the folder, or the name of a hub repository.
        purpose: who needs it, in messages.
        wanted: files by which it is known, any of them; the first is named in messages.
        library: that saved it.
        what: it holds.
        folder_of: gives the hub's folder from name, revision and whether to stay on this machine.
    """
    place = Path(weights).expanduser()
    if place.exists():
        if any((place / name).is_file() for name in wanted):
            return place
        raise UserError(f"{purpose} needs a folder saved by {library} (with {wanted[0]}), and {weights!r} is none")
    name, revision = _hub_name(weights, purpose, wanted[0])
    try:
        return Path(folder_of(name, revision, local=True))
    except (OSError, ValueError):  # not in the cache, or not all of it
        files = f"all files of the {what}, {wanted[0]} among them,"
        return Path(_fetched(lambda: folder_of(name, revision, local=False), weights, purpose, files))


def checksums(paths: Iterable[Path]) -> dict[str, str]:
    """Name of each file -> sha256, for `manifest.json` and the content key."""
    return {path.name: _checksum(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def folder_checksums(folder: Path) -> dict[str, str]:
    """Relative name -> sha256 of every file of a pipeline's folder that decides what it makes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_file() and path.suffix in _DECIDING and not relative.startswith("."):
            found[relative] = _checksum(str(path), path.stat().st_size, path.stat().st_mtime_ns)
    return found


def published_name(weights: str | None) -> str | None:
    """What the manifest says of a `model` parameter: a hub name, or the last part of a local path.

    Where a file lies on somebody's machine neither decides the output nor concerns others.
    """
    if weights is None or not Path(weights).expanduser().exists():
        return weights
    return Path(weights).expanduser().resolve().name


def _hub_name(weights: str, purpose: str, filename: str) -> tuple[str, str | None]:
    if not _HUB_NAME.fullmatch(weights):
        raise UserError(
            f"{purpose} needs {filename}, and model={weights!r} is no file or folder here and no hub name "
            "(owner/name): pass the path of the file or of its folder"
        )
    name, _, revision = weights.partition("@")
    return name, revision or None


def _cached_file(name: str, filename: str, revision: str | None) -> str:
    from huggingface_hub import hf_hub_download

    return hf_hub_download(name, filename, revision=revision, local_files_only=True)


def _hub_file(name: str, filename: str, revision: str | None) -> str:
    from huggingface_hub import hf_hub_download

    return hf_hub_download(name, filename, revision=revision)


def _hub_folder(name: str, revision: str | None, *, local: bool) -> str:
    from diffusers import DiffusionPipeline

    return str(DiffusionPipeline.download(name, revision=revision, local_files_only=local))


def _snapshot(name: str, revision: str | None, *, local: bool) -> str:
    from huggingface_hub import snapshot_download

    kept = [f"*{suffix}" for suffix in _DECIDING]
    return str(snapshot_download(name, revision=revision, local_files_only=local, allow_patterns=kept))


def _fetched(fetch: Any, weights: str, purpose: str, filename: str) -> str:  # noqa: ANN401 - a function without arguments
    """Download, after one short look whether the hub answers: its client would retry for half a minute."""
    reason = unreachable()
    if reason is None:
        try:
            return str(fetch())
        except Exception as error:  # noqa: BLE001 - the hub's client raises a dozen kinds; each means "not to be had"
            reason = str(error).strip().splitlines()[0][:200] or type(error).__name__
    raise UserError(
        f"{purpose} needs {filename} of {weights!r}, which is not on this machine and can't be fetched ({reason}): "
        "fetch it elsewhere and pass the folder that holds it as --set model=FOLDER"
    )


def unreachable() -> str | None:
    """Why the hub does not answer; None if it does."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=_PROBE_SECONDS)
    except Exception as error:  # noqa: BLE001 - any failure to connect, of whichever client is underneath
        return f"no connection to the hub: {error}"
    return None


@lru_cache(maxsize=4096)
def _checksum(path: str, size: int, changed: int) -> str:
    """A file's checksum, taken once as long as its size and time stay."""
    del size, changed
    return sha256_file(Path(os.fspath(path)))
