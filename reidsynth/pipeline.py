"""Steps: one table made from others, batch by batch, on any engine."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from reidsynth import grouping, shared_captions, thresholds
from reidsynth.engines import LocalEngine
from reidsynth.errors import UserError
from reidsynth.jobs import Job, Run, commit, execute, input_checksums, shard_file, table_info
from reidsynth.manifest import Manifest, ManifestInfo, open_manifest, read_info, step_shard_key, write_info
from reidsynth.passes import fetch_block, make_block, passes
from reidsynth.spending import Estimate
from reidsynth.steps import GatheringStep, build_step
from reidsynth.storage import locked
from reidsynth.tables import table_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from reidsynth.grouping import Entry
    from reidsynth.passes import Planned
    from reidsynth.schema import TableSpec


def run_step(out: Path, name: str, method: str, parameters: Mapping[str, Any], *, run: Run) -> Manifest:
    """Run one step on a manifest: make its table, or complete it, or find it already made.

    Args:
        out: the manifest's folder.
        name: of the step.
        method: of the step.
        parameters: of the step.
        run: engine and progress.

    Returns:
        The manifest with the table.

    Raises:
        UserError: for wrong parameters, a missing or damaged input table, or a full disk.
    """
    return run_steps(out, [(name, method, parameters)], run=run)


def run_steps(out: Path, steps: Sequence[tuple[str, str, Mapping[str, Any]]], *, run: Run) -> Manifest:
    """Run several steps in order; those that need no network share their passes over the rows.

    Args:
        out: the manifest's folder.
        steps: name, method and parameters of each.
        run: engine and progress.

    Returns:
        The manifest with their tables: byte for byte what the steps would make one by one.

    Raises:
        UserError: as `run_step`.
    """
    for step in steps:
        build_step(*step)  # what is wrong with any of them is told before anything else
    read_info(out)  # a folder that holds no manifest is left as it is
    with locked(out):
        entries = grouping.entries(steps)
        _forget_lost(out, entries)
        for group in grouping.together(entries):
            _make(out, group, run)
    return open_manifest(out)


def _forget_lost(out: Path, entries: Sequence[Entry]) -> None:
    """Take tables that are about to be made out of the description where shards of theirs are missing or damaged.

    What is damaged is deleted, what is whole is found again by its key.
    """
    manifest = Manifest(out, read_info(out))
    lost = set()
    for entry in entries:
        name = entry.spec.name
        gone = name not in manifest.tables
        if gone or (isinstance(entry.step, GatheringStep) and not entry.step.remembers(manifest)):
            continue
        for shard in manifest.tables[name].shards if manifest.tables[name].step is not None else ():
            try:
                manifest.check_shard(shard)
            except UserError:
                (out / shard.file).unlink(missing_ok=True)
                lost.add(name)
    if lost:
        kept = {name: table for name, table in manifest.tables.items() if name not in lost}
        write_info(out, manifest.info.model_copy(update={"tables": kept}))


def _make(out: Path, entries: Sequence[Entry], run: Run) -> None:
    """Make the tables of steps that share a pass."""
    with ExitStack() as stack:
        manifest = open_manifest(out)
        planned = grouping.planned(entries, manifest.tables)
        for each in planned:
            _refuse_overwriting(manifest, each.spec)
        make: Callable[[Any], dict[str, pa.RecordBatch]] = make_block
        if isinstance(entries[0].step, GatheringStep):
            gathered = stack.enter_context(entries[0].step.gather(manifest, run.allowance, run.progress))
            made = planned[0].made
            made = made.model_copy(update={"weights": {**made.weights, **gathered.weights}})
            planned = [replace(planned[0], made=made)]
            make = partial(make_block, process=gathered.process)
            run = replace(run, engine=LocalEngine(1))  # what was gathered is here
        work = passes(manifest, planned)
        for shard in dict.fromkeys(shard for each in work for shard in each.inputs):
            manifest.check_shard(shard)
        changed = {table for each in work for table in each.files} & manifest.tables.keys()
        if changed:  # their checksums will no longer be those on disk
            kept = {name: table for name, table in manifest.tables.items() if name not in changed}
            write_info(out, manifest.info.model_copy(update={"tables": kept}))
        schemas = {each.spec.name: table_schema(each.spec) for each in planned}
        execute(out, work, schemas, make, run=run, label=_label(planned), fetch=fetch_block)
        info = manifest.info
        for each in planned:
            info = _finished(out, info, each)
        commit(out, info)


def _label(planned: Sequence[Planned]) -> str:
    if len(planned) == 1:
        return f"{planned[0].made.name} {planned[0].made.method}"
    return " + ".join(each.made.name for each in planned)


def _finished(out: Path, info: ManifestInfo, each: Planned) -> ManifestInfo:
    """The description with a table whose shards are all there."""
    jobs = _jobs(info, each)
    if each.spec.kind == "text":
        shared_captions.settle(out, jobs, info.captures, each.spec, thresholds.limits_of(each.spec))
    table = table_info(out, jobs, each.spec, each.made)
    return info.model_copy(update={"tables": info.tables | {each.spec.name: table}})


def estimate_step(out: Path, name: str, method: str, parameters: Mapping[str, Any]) -> Estimate:
    """What a step would do, found out without doing it.

    Args:
        out: the manifest's folder.
        name: of the step.
        method: of the step.
        parameters: of the step.

    Raises:
        UserError: for wrong parameters or a missing input table.
    """
    step = build_step(name, method, parameters)
    manifest = open_manifest(out)
    step.inputs(tuple(manifest.tables))
    if isinstance(step, GatheringStep):
        return step.estimate(manifest)
    return Estimate(rows=sum(split.rows for split in manifest.info.splits.values()))


def _refuse_overwriting(manifest: Manifest, spec: TableSpec) -> None:
    existing = manifest.tables.get(spec.name)
    if existing is not None and existing.step is None:
        raise UserError(f"{manifest.path} got its table {spec.name!r} from the data set: no step may replace it")


def _jobs(info: ManifestInfo, each: Planned) -> list[Job]:
    """The shards of a step's table; nothing is left to do for them."""
    jobs = []
    for split in info.splits:
        shards = [shard for shard in info.captures if shard.split == split]
        for number, shard in enumerate(shards):
            key = step_shard_key(each.made, each.spec, input_checksums(info, each.made.inputs, split, number))
            files = {each.spec.name: shard_file(each.spec.name, split, number, len(shards))}
            jobs.append(Job(files, split, key, shard.rows, tasks=()))
    return jobs
