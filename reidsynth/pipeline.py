"""Steps: one table made from others, batch by batch, on any engine."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from reidsynth import rows, shared_captions
from reidsynth.engines import LocalEngine
from reidsynth.errors import UserError
from reidsynth.jobs import (
    ROWS_PER_BLOCK,
    Job,
    Run,
    commit,
    execute,
    input_checksums,
    shard_file,
    shard_starts,
    table_info,
)
from reidsynth.manifest import Manifest, StepInfo, open_manifest, read_info, step_shard_key, write_info
from reidsynth.schema import TableSpec
from reidsynth.spending import Estimate
from reidsynth.steps import GatheringStep, Step, build_step, note, terms
from reidsynth.storage import locked
from reidsynth.tables import table_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from reidsynth.schema import Made, Sample


@dataclass(frozen=True, slots=True)
class _StepTask:
    folder: str
    step: str
    method: str
    parameters: str
    weights: str
    inputs: tuple[str, ...]
    split: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A block's rows, as they are sent to a worker that may not see the manifest."""

    step: str
    method: str
    parameters: str
    weights: str
    inputs: Mapping[str, TableSpec]
    rows: Mapping[str, pa.Table]


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
    step = build_step(name, method, parameters)
    # Workers need every field, where weights lie on this machine too; the manifest tells only what decides the output.
    fields = json.dumps(rows.plain(asdict(cast("Any", step))), sort_keys=True)
    read_info(out)  # a folder that holds no manifest is left as it is
    with locked(out), ExitStack() as stack:
        manifest = open_manifest(out)
        spec = step.output()
        made = StepInfo(
            name=step.name,
            method=step.method,
            version=step.version,
            parameters=rows.portable(step.parameters()),  # weights are known by their checksums, not by their place
            weights=step.weights(),
            terms=terms(step),
            note=note(step),
            inputs=step.inputs(tuple(manifest.tables)),
        )
        _refuse_overwriting(manifest, spec)
        weights = json.dumps(made.weights) if made.weights else ""
        make: Callable[[_Fetched], dict[str, pa.RecordBatch]] = _make_block
        if isinstance(step, GatheringStep):
            gathered = stack.enter_context(step.gather(manifest, run.allowance, run.progress))
            made = made.model_copy(update={"weights": {**made.weights, **gathered.weights}})
            make = partial(_make_block, process=gathered.process)
            run = replace(run, engine=LocalEngine(1))  # what was gathered is here
        jobs = _step_jobs(manifest, spec, made, fields, weights)
        if spec.name in manifest.tables and any(not job.done(out) for job in jobs):
            others = {key: table for key, table in manifest.tables.items() if key != spec.name}
            write_info(out, manifest.info.model_copy(update={"tables": others}))
        waiting = shared_captions.drafts(out, jobs) if spec.kind == "text" else jobs
        schemas = {spec.name: table_schema(spec)}
        execute(out, waiting, schemas, make, run=run, label=f"{name} {method}", check=manifest, fetch=_fetch_block)
        if spec.kind == "text":
            shared_captions.settle(out, jobs, manifest.info.captures, spec)
        table = table_info(out, jobs, spec, made)
        tables = {key: value for key, value in manifest.tables.items() if key != spec.name} | {spec.name: table}
        commit(out, manifest.info.model_copy(update={"tables": tables}))
    return open_manifest(out)


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


def _step_jobs(manifest: Manifest, spec: TableSpec, made: StepInfo, fields: str, weights: str) -> list[Job]:
    jobs = []
    for split in manifest.splits:
        shards = [shard for shard in manifest.info.captures if shard.split == split]
        starts = shard_starts(manifest.info, split)
        for number, (first, shard) in enumerate(zip(starts, shards, strict=True)):
            checksums = input_checksums(manifest.info, made.inputs, split, number)
            common = (
                str(manifest.path),
                made.name,
                made.method,
                fields,
                weights,
                made.inputs,
                split,
            )
            jobs.append(
                Job(
                    files={spec.name: shard_file(spec.name, split, number, len(shards))},
                    split=split,
                    key=step_shard_key(made, spec, checksums),
                    rows=shard.rows,
                    tasks=tuple(
                        _StepTask(*common, first + i, first + min(i + ROWS_PER_BLOCK, shard.rows))
                        for i in range(0, shard.rows, ROWS_PER_BLOCK)
                    ),
                )
            )
    return jobs


@lru_cache(maxsize=4)
def _step(name: str, method: str, parameters: str, weights: str) -> Step:
    """The step in a worker.

    Raises:
        UserError: its weights there are not those that the manifest will name.
    """
    step = build_step(name, method, json.loads(parameters))
    if weights and step.weights() != json.loads(weights):
        raise UserError(
            f"the weights of step {name!r}, method {method!r}, differ from those that the command began with: put the "
            "same files at the same path on every node, and leave them alone while it runs"
        )
    return step


@lru_cache(maxsize=4)
def _opened(folder: str) -> Manifest:
    return Manifest(Path(folder), read_info(Path(folder)))


def _fetch_block(task: _StepTask) -> _Fetched:
    _opened.cache_clear()  # an earlier step may have added tables since
    manifest = _opened(task.folder)
    numbers = range(task.start, task.stop)
    return _Fetched(
        step=task.step,
        method=task.method,
        parameters=task.parameters,
        weights=task.weights,
        inputs={name: manifest.tables[name].spec for name in task.inputs},
        rows={name: manifest.table(name, task.split).take(numbers) for name in ("captures", *task.inputs)},
    )


def _make_block(
    fetched: _Fetched, process: Callable[[Sequence[Sample]], list[Made]] | None = None
) -> dict[str, pa.RecordBatch]:
    step = _step(fetched.step, fetched.method, fetched.parameters, fetched.weights)
    block = {name: table.to_pylist() for name, table in fetched.rows.items()}
    spec = step.output()
    return {spec.name: rows.step_batch(process or step.process, block, inputs=fetched.inputs, output=spec)}
