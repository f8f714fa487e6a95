"""Recipes of several data sets: each part is built on its own, then all are merged by links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reidsynth.ingest import ingest
from reidsynth.manifest import MANIFEST_FILE, Manifest, open_manifest, read_info
from reidsynth.merging import merge
from reidsynth.pipeline import run_steps
from reidsynth.selection import Selection, select
from reidsynth.storage import content_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from reidsynth.jobs import Run
    from reidsynth.recipe import PartEntry, Recipe

FOLDER = ".parts"
_MADE_FROM = "made_from"


def part_folder(out: Path, part: PartEntry) -> Path:
    """Where a part of a manifest is built: beside its tables, which share their files with it."""
    return out / FOLDER / part.source.name


def build_parts(recipe: Recipe, kept: Mapping[str, Any], out: Path, *, run: Run) -> Manifest:
    """Build every part and merge them; parts and merged shards that are there are not made again.

    Args:
        recipe: with `parts`.
        kept: the recipe as `manifest.json` keeps it.
        out: folder of the manifest; the parts lie below it.
        run: engine and progress.

    Returns:
        The merged manifest, before the steps that follow the merge.

    Raises:
        UserError: for anything that the data sets or the disk do not allow.
    """
    built = [_part(part, out, run) for part in recipe.parts]
    key = content_key([part.checksum for part in built])
    if (out / MANIFEST_FILE).is_file():
        there = read_info(out)
        if there.recipe is not None and there.recipe.get(_MADE_FROM) == key:
            return open_manifest(out)  # with the tables that later steps made
    return merge(
        built,
        out,
        name=recipe.name,
        about=recipe.about,
        recipe={**kept, _MADE_FROM: key},
        progress=run.progress,
    )


def _part(part: PartEntry, out: Path, run: Run) -> Manifest:
    folder = part_folder(out, part)
    steps = [(entry.step, entry.method, entry.parameters) for entry in part.steps]
    manifest = ingest(folder, part.source.name, part.source.parameters, run=run, ahead=steps)
    if steps:
        manifest = run_steps(folder, steps, run=run)
    if part.splits:
        chosen = folder.with_name(f"{folder.name}-{'-'.join(part.splits)}")
        manifest = select(manifest, Selection(splits=part.splits), chosen, progress=run.progress)
    return manifest
