"""Steps that go over the rows together: a photograph is decoded once for all of them.

Shards of several tables are made side by side, block by block. Each is still a shard of one table under its own
content key, finished in the order of the steps: a key holds the checksums of the shards that it was made from, so it
is known when those are finished. Whether steps run together or one by one never changes a byte.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reidsynth import rows, shared_captions
from reidsynth.errors import UserError
from reidsynth.jobs import ROWS_PER_BLOCK, shard_file
from reidsynth.manifest import Manifest, ShardInfo, StepInfo, step_shard_key
from reidsynth.reader import TableReader
from reidsynth.schema import TableSpec
from reidsynth.steps import Step, build_step
from reidsynth.storage import shard_sha256
from reidsynth.tables import shard_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    import pyarrow as pa

    from reidsynth.schema import Made, Sample


@dataclass(frozen=True, slots=True)
class Planned:
    """A step that is to make its table.

    Args:
        spec: of the table.
        made: what the manifest tells of the step.
        fields: all fields of the step as JSON, where weights lie on this machine too: workers need every one.
        weights: checksums of its weights as JSON, which workers compare with those of their files; "" without any.
    """

    spec: TableSpec
    made: StepInfo
    fields: str
    weights: str


@dataclass(frozen=True, slots=True)
class Order:
    """A step as workers build it and run it on a block.

    Args:
        name: of the step.
        method: of the step.
        fields: all of them, as JSON.
        weights: their checksums, as JSON.
        inputs: tables that it reads.
        limits: thresholds of its gate.
    """

    name: str
    method: str
    fields: str
    weights: str
    inputs: tuple[str, ...]
    limits: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A block's rows, as they are sent to a worker that may not see the manifest."""

    steps: tuple[Order, ...]
    inputs: Mapping[str, TableSpec]
    rows: Mapping[str, pa.Table]


@dataclass(frozen=True, slots=True)
class _Task:
    """One block of rows: what to read, and the steps to run on it in turn."""

    folder: str
    inputs: tuple[tuple[TableSpec | None, str], ...]  # the specification is None for the captures
    shard_rows: int
    start: int
    stop: int
    steps: tuple[Order, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Blocks:
    """Tasks of one shard, listed when they are asked for."""

    whole: _Task

    def __len__(self) -> int:
        return -(-self.whole.shard_rows // ROWS_PER_BLOCK)

    def __iter__(self) -> Iterator[_Task]:
        one = self.whole
        for start in range(0, one.shard_rows, ROWS_PER_BLOCK):
            stop = min(start + ROWS_PER_BLOCK, one.shard_rows)
            yield _Task(one.folder, one.inputs, one.shard_rows, start, stop, one.steps)


@dataclass(frozen=True, slots=True)
class Pass:
    """One shard of rows in the tables of steps that run together.

    Args:
        steps: in order.
        contents: table -> checksum of its shard, of those that are there already.
        inputs: shards on record that the unfinished tables are made from.
        finals: table -> file, of all steps' tables.
        files: table -> file to write, of the unfinished tables.
        rows: of the shard.
        tasks: that make the unfinished tables.
    """

    steps: tuple[Planned, ...]
    contents: Mapping[str, str]
    inputs: tuple[ShardInfo, ...]
    finals: Mapping[str, str]
    files: Mapping[str, str]
    rows: int
    tasks: _Blocks

    def done(self, folder: Path) -> bool:
        """Whether nothing is to be written."""
        return not self.files

    def key_of(self, table: str, folder: Path) -> str:
        """Key of one of its files, once those before it are finished."""
        step = next(step for step in self.steps if step.spec.name == table)
        contents = [
            self.contents[name] if name in self.contents else shard_sha256(folder / self.finals[name])
            for name in ("captures", *step.made.inputs)
        ]
        return step_shard_key(step.made, step.spec, contents)


def passes(manifest: Manifest, steps: Sequence[Planned]) -> list[Pass]:
    """One pass for each shard of rows, with what is missing of it.

    Args:
        manifest: holds every table that the steps need and none of them makes.
        steps: in order; no step needs the captions of another one.
    """
    found = []
    for split in manifest.splits:
        total = sum(shard.split == split for shard in manifest.info.captures)
        found += [_pass(manifest, tuple(steps), split, number, total) for number in range(total)]
    return found


def _pass(manifest: Manifest, steps: tuple[Planned, ...], split: str, number: int, total: int) -> Pass:
    finals = {step.spec.name: shard_file(step.spec.name, split, number, total) for step in steps}
    recorded = {
        name: [shard for shard in manifest.info.shards_of(name) if shard.split == split][number]
        for name in ("captures", *manifest.tables)
        if name not in finals
    }
    contents = {name: shard.content for name, shard in recorded.items()}
    waiting: dict[str, str] = {}
    for step in steps:
        file = finals[step.spec.name]
        written = shared_captions.draft(file) if step.spec.kind == "text" else file
        needed = ("captures", *step.made.inputs)
        if all(name in contents for name in needed):
            key = step_shard_key(step.made, step.spec, [contents[name] for name in needed])
            there = next((path for path in (file, written) if shard_key(manifest.path / path) == key), None)
            if there is not None:
                contents[step.spec.name] = _content(manifest, step.spec.name, there, key)
                continue
        waiting[step.spec.name] = written
    unfinished = [step for step in steps if step.spec.name in waiting]
    read = ["captures", *dict.fromkeys(name for step in unfinished for name in step.made.inputs if name not in waiting)]
    specs = {step.spec.name: step.spec for step in steps} | {name: t.spec for name, t in manifest.tables.items()}
    task = _Task(
        folder=str(manifest.path),
        inputs=tuple((specs.get(name), finals[name] if name in finals else recorded[name].file) for name in read),
        shard_rows=recorded["captures"].rows,
        start=0,
        stop=0,
        steps=tuple(order(step) for step in unfinished),
    )
    return Pass(
        steps=steps,
        contents=contents,
        inputs=tuple(recorded[name] for name in read if name in recorded) if waiting else (),
        finals=finals,
        files=waiting,
        rows=task.shard_rows,
        tasks=_Blocks(task),
    )


def _content(manifest: Manifest, table: str, file: str, key: str) -> str:
    """Checksum that a finished shard is known by: the one on record, or else that of its file."""
    shards = manifest.tables[table].shards if table in manifest.tables else ()
    recorded = next((shard for shard in shards if (shard.file, shard.key) == (file, key)), None)
    return shard_sha256(manifest.path / file) if recorded is None else recorded.content


def order(step: Planned) -> Order:
    """What workers are told of a step."""
    made = step.made
    return Order(made.name, made.method, step.fields, step.weights, made.inputs, step.spec.limits)


@lru_cache(maxsize=8)
def _step(name: str, method: str, fields: str, weights: str) -> Step:
    """The step in a worker.

    Raises:
        UserError: its weights there are not those that the manifest will name.
    """
    step = build_step(name, method, json.loads(fields))
    if weights and step.weights() != json.loads(weights):
        raise UserError(
            f"the weights of step {name!r}, method {method!r}, differ from those that the command began with: put the "
            "same files at the same path on every node, and leave them alone while it runs"
        )
    return step


def fetch_block(task: _Task) -> _Fetched:
    """Read what a block's steps are to work on."""
    tables = {}
    for spec, file in task.inputs:
        name = "captures" if spec is None else spec.name
        reader = TableReader([(Path(task.folder) / file, task.shard_rows)], name)
        tables[name] = reader.take(range(task.start, task.stop))
    return _Fetched(task.steps, {spec.name: spec for spec, _ in task.inputs if spec is not None}, tables)


def make_block(
    fetched: _Fetched, process: Callable[[Sequence[Sample]], list[Made]] | None = None
) -> dict[str, pa.RecordBatch]:
    """Run a block's steps in turn.

    Args:
        fetched: what they work on.
        process: replaces the hook of the only step.

    Returns:
        table -> its rows.
    """
    block: dict[str, list[dict[str, Any]]] = {name: table.to_pylist() for name, table in fetched.rows.items()}
    return carry_out(fetched.steps, block, dict(fetched.inputs), {}, process)


def carry_out(
    orders: Sequence[Order],
    block: dict[str, list[dict[str, Any]]],
    specs: dict[str, TableSpec],
    decoded: dict[tuple[str, int], np.ndarray],
    process: Callable[[Sequence[Sample]], list[Made]] | None = None,
) -> dict[str, pa.RecordBatch]:
    """Run steps in turn on rows that are in memory.

    Args:
        orders: the steps.
        block: table -> rows, `captures` and what the steps read; the tables that they make are added.
        specs: table -> its specification; likewise.
        decoded: (table, row of the block) -> pixels that are known already; likewise.
        process: replaces the hook of the only step.

    Returns:
        table -> its rows.
    """
    made: dict[str, pa.RecordBatch] = {}
    for number, asked in enumerate(orders):
        step = _step(asked.name, asked.method, asked.fields, asked.weights)
        spec = replace(step.output(), limits=asked.limits)
        given = {table: specs[table] for table in asked.inputs}
        read_later = any(spec.name in later.inputs for later in orders[number + 1 :])
        block[spec.name] = rows.step_rows(
            process or step.process, block, inputs=given, output=spec, decoded=decoded, keep=read_later
        )
        specs[spec.name] = spec
        made[spec.name] = rows.laid_out(block[spec.name], spec)
    return made
