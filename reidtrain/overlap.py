"""What it means for a result that data sets hold photographs of each other.

A model that was trained on a data set has seen the photographs of those that it contains, so a result on them is not
free of overlap, whatever the identities are called. `reidsynth audit` finds equal images by their content; its map of
what is on record does without images.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from reidtrain.errors import UserError


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
    from reidtrain.data import shared_photographs

    found = []
    for trained in sorted(set(trained_on)):
        for evaluated in sorted(set(evaluated_on) - {trained}):
            shared = sorted(shared_photographs(trained, evaluated))
            if shared:
                found.append(
                    f"{trained} (trained on) and {evaluated} (evaluated) share photographs of {' and '.join(shared)}"
                )
    return found


def read_audit(file: Path) -> dict[str, Any]:
    """Read the report that `reidsynth audit --out FILE` writes.

    Raises:
        UserError: when the file is missing or is no such report.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        audited(values, (), (), "")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is no report of an audit ({error}): make one with `reidsynth audit --out`") from error
    return dict(values)


def audited(
    audit: Mapping[str, Any], trained_on: Collection[str], evaluated_on: Collection[str], split: str
) -> list[str]:
    """What an audit found that a run's training and evaluation data share.

    Args:
        audit: from `read_audit`.
        trained_on: data sets of the training split.
        evaluated_on: data sets that were evaluated.
        split: that was evaluated.

    Returns:
        One sentence for each pair of parts that share people or images.
    """
    parts = {part["name"]: part for part in audit["parts"]}
    seen = {name for name, part in parts.items() if part["trained_on"] and set(part["datasets"]) & set(trained_on)}
    asked = {
        name
        for name, part in parts.items()
        if name.rpartition(":")[2] == split and set(part["datasets"]) & set(evaluated_on)
    }
    found = []
    for overlap in audit["overlaps"]:
        first, second = overlap["first"], overlap["second"]
        if overlap["leak"] and ((first in seen and second in asked) or (second in seen and first in asked)):
            found.append(
                f"{first} and {second} share {overlap['people']} people, {overlap['equal'][0]} equal and "
                f"{overlap['near'][0]} near images"
            )
    return found


def datasets_of(path: str | Path, split: str) -> set[str]:
    """Data sets that a split of a manifest holds.

    Raises:
        UserError: when there is no such manifest or split.
    """
    from reidtrain.data import open_manifest

    manifest = open_manifest(path)
    if split not in manifest.splits:
        raise UserError(f"the manifest {path} has no split {split!r}: it has {', '.join(manifest.splits)}")
    return set(manifest.captures(split).column("dataset").unique().to_pylist())
