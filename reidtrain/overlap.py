"""Which data sets hold photographs of which others, and what that means for a result.

A model that was trained on a data set has seen the photographs of those that it contains, so a result on them is not
free of overlap, whatever the identities are called. `reidsynth audit` finds equal images by their content; the map here
knows what is on record, without images.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

CONTAINS: dict[str, tuple[str, ...]] = {
    "cuhk-pedes": ("market1501", "cuhk01", "cuhk03-np", "viper", "cuhk-sysu"),
    "icfg-pedes": ("msmt17",),
    "rstpreid": ("msmt17",),
    "market-sketch-1k": ("market1501",),
    "synth-pedes": ("luperson-nl", "lpw"),
    "orbench": ("sysu-mm01", "llcm"),
}
"""Data set -> data sets whose photographs it holds. ORBench's file names tell whose, the others are on record."""


def origins(dataset: str) -> frozenset[str]:
    """A data set and all whose photographs it holds.

    Example:
        >>> sorted(origins("market-sketch-1k"))
        ['market-sketch-1k', 'market1501']
    """
    return frozenset({dataset}.union(*(origins(inner) for inner in CONTAINS.get(dataset, ()))))


def overlaps(trained_on: Iterable[str], evaluated_on: Collection[str]) -> list[str]:
    """Say which photographs of the evaluated data sets may have been seen in training.

    Args:
        trained_on: data sets of the training split.
        evaluated_on: data sets that were evaluated.

    Returns:
        One sentence for each pair of different data sets that share an origin.

    Example:
        >>> overlaps(["rstpreid", "market1501"], ["icfg-pedes"])
        ['rstpreid (trained on) and icfg-pedes (evaluated) share photographs of msmt17']
    """
    found = []
    for trained in sorted(set(trained_on)):
        for evaluated in sorted(set(evaluated_on) - {trained}):
            shared = sorted(origins(trained) & origins(evaluated))
            if shared:
                found.append(
                    f"{trained} (trained on) and {evaluated} (evaluated) share photographs of {' and '.join(shared)}"
                )
    return found


def datasets_of(path: str | Path, split: str) -> set[str]:
    """Data sets that a split of a manifest holds.

    Raises:
        UserError: when there is no such manifest or split.
    """
    from reidtrain.data import open_manifest
    from reidtrain.errors import UserError

    manifest = open_manifest(path)
    if split not in manifest.splits:
        raise UserError(f"the manifest {path} has no split {split!r}: it has {', '.join(manifest.splits)}")
    return set(manifest.captures(split).column("dataset").unique().to_pylist())
