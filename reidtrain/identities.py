"""How many identities the training data has, which sizes a model's classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reidtrain.config import RunConfig
from reidtrain.data import open_manifest
from reidtrain.models import CLASSIFIERS


def count_identities(manifests: Sequence[str | Path], split: str) -> int:
    """Count distinct (data set, pid) in a split of manifests.

    Raises:
        UserError: when there is no such manifest.
    """
    found: set[tuple[str, int]] = set()
    for path in manifests:
        manifest = open_manifest(path)
        if split in manifest.splits:
            captures = manifest.captures(split)
            columns = (captures.column(name).to_pylist() for name in ("dataset", "pid"))
            found.update(zip(*columns, strict=True))
    return len(found)


def with_classes(config: RunConfig) -> RunConfig:
    """Fill in `model.options.classes` of a model that classifies identities; a configuration that has it stays."""
    model = config.model
    if model.name not in CLASSIFIERS or "classes" in model.options or not config.data.manifests:
        return config
    classes = count_identities(config.data.manifests, config.data.split)
    options = {**model.options, "classes": classes}
    return config.model_copy(update={"model": model.model_copy(update={"options": options})})
