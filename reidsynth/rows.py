"""From values to rows: what a source read and what a step made, judged and laid out as Arrow batches."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reidsynth import gates, images, thresholds
from reidsynth.manifest import ShardInfo, SplitInfo
from reidsynth.schema import Content, Made, Record, Sample, TableSpec, Text
from reidsynth.tables import CAPTURES, table_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

    import numpy as np

SAMPLES_PER_BATCH = 64
_TEXT_COLUMNS = ("captions", "styles", "short", "attributes", "visible", "model", "usage")
IMAGE_FORMAT = "png"  # lossless: what a step made is what is stored


def plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as JSON values; paths become text."""
    values: dict[str, Any] = json.loads(json.dumps(dict(parameters), default=str, sort_keys=True))
    return values


def without_root(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that may be published and that decide the content: all but where the data set lies on this machine.

    Example:
        >>> without_root({"root": "/data", "sketch_root": "/sketches", "seed": 1})
        {'seed': 1}
    """
    return {name: value for name, value in parameters.items() if name != "root" and not name.endswith("_root")}


def portable(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The same value without places on this machine: of an absolute path only its name stays.

    Example:
        >>> portable({"model": "/home/anna/lineart", "steps": [{"file": "/tmp/u2net.onnx", "seed": 1}]})
        {'model': 'lineart', 'steps': [{'file': 'u2net.onnx', 'seed': 1}]}
    """
    if isinstance(value, Mapping):
        return {name: portable(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [portable(part) for part in value]
    if isinstance(value, str | PurePath) and PurePath(value).is_absolute():
        return PurePath(value).name
    return value


def source_batches(
    read: Iterable[tuple[Record, Content]],
    *,
    split: str,
    dataset: str,
    specs: Sequence[TableSpec],
    decoded: dict[tuple[str, int], np.ndarray] | None = None,
    kept: Collection[str] = (),
) -> dict[str, pa.RecordBatch]:
    """Lay out what a source read.

    Args:
        read: records with their content, in row order.
        split: of the rows.
        dataset: value of that column.
        specs: tables of the source.
        decoded: takes pixels by table and row, for steps that follow at once.
        kept: tables whose pixels it takes.

    Returns:
        table -> its rows, `captures` included.
    """
    captures: list[dict[str, Any]] = []
    tables: dict[str, list[dict[str, Any]]] = {spec.name: [] for spec in specs}
    for number, (record, content) in enumerate(read):
        width = height = None
        for spec in specs:
            row, pixels = _source_row(record, content, spec)
            if decoded is not None and pixels is not None and spec.name in kept:
                decoded[spec.name, number] = pixels
            tables[spec.name].append(row)
            if row.get("width") is not None and spec.modality == record.modality:
                width, height = row["width"], row["height"]
        captures.append(
            {
                "sample_id": record.sample_id,
                "dataset": dataset,
                "pid": record.pid,
                "camid": record.camid,
                "split": split,
                "role": record.role,
                "modality": record.modality,
                "source_path": record.source_path,
                "source_sha256": content.source_sha256,
                "width": width,
                "height": height,
                "derived_from": record.derived_from,
            }
        )
    batches = {spec.name: _batch(tables[spec.name], table_schema(spec)) for spec in specs}
    return {"captures": _batch(captures, CAPTURES), **batches}


def _batch(values: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(values, schema=schema.remove_metadata())


def _source_row(record: Record, content: Content, spec: TableSpec) -> tuple[dict[str, Any], np.ndarray | None]:
    """A row, and the pixels of its image."""
    draw = content.draws.get(spec.name)
    error = content.errors.get(spec.name)
    if error is not None:
        return _unmade_row(record.sample_id, spec, "error", error), None
    if spec.kind == "text":
        text = content.texts.get(spec.name)
        if text is None:
            return _unmade_row(record.sample_id, spec, "absent", None), None
        return _text_row(record.sample_id, spec, Made(text=text, draw=draw)), None
    encoded = content.images.get(spec.name)
    if encoded is None:
        return _unmade_row(record.sample_id, spec, "absent", None), None
    try:
        pixels = _as_modality(images.decode(encoded), spec)
    except images.UnreadableImage as unreadable:
        return _unmade_row(record.sample_id, spec, "error", str(unreadable)), None
    return _image_row(record.sample_id, spec, Made(image=pixels, draw=draw), encoded), pixels


def _as_modality(pixels: np.ndarray, spec: TableSpec) -> np.ndarray:
    return pixels[..., 0] if spec.modality == "mask" else pixels


def _unmade_row(sample_id: str, spec: TableSpec, verdict: str, reason: str | None) -> dict[str, Any]:
    row: dict[str, Any] = {"sample_id": sample_id, "origin": spec.origin, "verdict": verdict, "reason": reason}
    row["scores"] = dict.fromkeys(gates.SCORES[spec.modality])
    if spec.kind == "text":
        return row | dict.fromkeys(_TEXT_COLUMNS) | {"draw": None}
    row |= {"image": None, "width": None, "height": None, "draw": None}
    return row | ({"spectrum": spec.spectrum} if spec.modality == "ir" else {})


def _judged(row: dict[str, Any], spec: TableSpec, made: Made, photo: np.ndarray | None) -> dict[str, Any]:
    value = made.text if spec.kind == "text" else made.image
    assert value is not None  # the callers check; this tells the type checker
    verdict = gates.judge(spec.modality, value, photo, made.scores, thresholds.limits_of(spec))
    scores = dict.fromkeys(gates.SCORES[spec.modality]) | dict(verdict.scores)
    return row | {"verdict": verdict.verdict, "reason": verdict.reason, "scores": scores, "draw": made.draw}


def _image_row(
    sample_id: str, spec: TableSpec, made: Made, encoded: bytes, photo: np.ndarray | None = None
) -> dict[str, Any]:
    assert made.image is not None  # the callers check; this tells the type checker
    height, width = made.image.shape[:2]
    row = _unmade_row(sample_id, spec, "pass", None)
    row |= {"image": {"bytes": encoded, "path": None}, "width": width, "height": height}
    return _judged(row, spec, made, photo)


def _text_row(sample_id: str, spec: TableSpec, made: Made) -> dict[str, Any]:
    text = made.text
    assert text is not None  # the callers check; this tells the type checker
    row = _unmade_row(sample_id, spec, "pass", None)
    row |= {
        "captions": list(text.captions),
        "styles": list(text.styles) or None,
        "short": text.short,
        "attributes": None if text.attributes is None else dict(text.attributes),
        "visible": None if text.visible is None else dict(text.visible),
        "model": text.model,
        "usage": None if text.usage is None else dict(text.usage),
    }
    return _judged(row, spec, made, None)


def step_batch(
    process: Callable[[Sequence[Sample]], list[Made]],
    block: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    inputs: Mapping[str, TableSpec],
    output: TableSpec,
) -> pa.RecordBatch:
    """Run a step over a block of rows and lay out what it made.

    Args:
        process: the step's hook.
        block: table -> rows, `captures` and the inputs, row-aligned.
        inputs: table -> its specification.
        output: the table that is made.

    Returns:
        One row for each capture, in order.
    """
    return laid_out(step_rows(process, block, inputs=inputs, output=output), output)


def laid_out(values: list[dict[str, Any]], spec: TableSpec) -> pa.RecordBatch:
    """Rows of a table as an Arrow batch."""
    return _batch(values, table_schema(spec))


def step_rows(
    process: Callable[[Sequence[Sample]], list[Made]],
    block: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    inputs: Mapping[str, TableSpec],
    output: TableSpec,
    decoded: dict[tuple[str, int], np.ndarray] | None = None,
    keep: bool = False,
) -> list[dict[str, Any]]:
    """Run a step over a block of rows: decode once, sort by size, process in batches, encode, judge.

    Args:
        process: the step's hook.
        block: table -> rows, `captures` and the inputs, row-aligned.
        inputs: table -> its specification.
        output: the table that is made.
        decoded: (table, row of the block) -> pixels that earlier steps on this block have decoded or made.
        keep: whether this step adds its own, as they would be decoded again, for a later one.

    Returns:
        One row for each capture, in order.
    """
    decoded = {} if decoded is None else decoded
    values: list[dict[str, Any]] = [{} for _ in block["captures"]]
    ready: list[tuple[int, Sample]] = []
    for number, capture in enumerate(block["captures"]):
        given = _sample(number, capture, {name: block[name][number] for name in inputs}, inputs, decoded)
        if isinstance(given, Sample):
            ready.append((number, given))
        else:
            values[number] = _unmade_row(capture["sample_id"], output, "absent", given)
    ready.sort(key=lambda item: (_size(item[1]), item[0]))
    for first in range(0, len(ready), SAMPLES_PER_BATCH):
        part = ready[first : first + SAMPLES_PER_BATCH]
        made = process([sample for _, sample in part])
        for (number, sample), result in zip(part, made, strict=True):
            values[number] = _made_row(sample, output, result)
            if keep and result.image is not None and IMAGE_FORMAT == "png":  # lossless: the pixels that are stored
                decoded[output.name, number] = _as_stored(result.image, output)
    return values


def _as_stored(image: np.ndarray, spec: TableSpec) -> np.ndarray:
    """What decoding the stored image would give."""
    import numpy as np

    if spec.modality == "mask":
        return image if image.ndim == 2 else image[..., 0]
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image


def _size(sample: Sample) -> tuple[int, ...]:
    return next((image.shape[:2] for image in sample.images.values()), ())


def _sample(
    number: int,
    capture: Mapping[str, Any],
    given: Mapping[str, Mapping[str, Any]],
    inputs: Mapping[str, TableSpec],
    decoded: dict[tuple[str, int], np.ndarray],
) -> Sample | str | None:
    """The sample, or why it can't be processed: the reason of the first input that is not usable."""
    pixels: dict[str, np.ndarray] = {}
    texts: dict[str, Text] = {}
    encoded: dict[str, bytes] = {}
    for name, row in given.items():
        if row["verdict"] != "pass" and inputs[name].kind == "text":
            continue  # a step that reads captions or attributes does without them
        if row["verdict"] != "pass":
            reason = row["reason"] or ("absent" if pixels else None)  # a photograph without its mask tells why
            return f"{name}: {reason}" if reason else None
        if inputs[name].kind == "text":
            texts[name] = text_of(row)
            continue
        encoded[name] = row["image"]["bytes"]
        try:
            if (name, number) not in decoded:
                decoded[name, number] = _as_modality(images.decode(encoded[name]), inputs[name])
        except images.UnreadableImage as unreadable:
            return f"{name}: {unreadable}"
        pixels[name] = decoded[name, number]
    return Sample(capture["sample_id"], capture, pixels, texts, encoded)


def text_of(row: Mapping[str, Any]) -> Text:
    """The captions of a row of a text table."""
    return Text(
        captions=tuple(row["captions"]),
        attributes=row["attributes"],
        model=row["model"],
        usage=row["usage"],
        styles=tuple(row["styles"] or ()),
        short=row["short"],
        visible=row["visible"],
    )


def _made_row(sample: Sample, output: TableSpec, made: Made) -> dict[str, Any]:
    if made.error is not None:
        return _unmade_row(sample.sample_id, output, "error", made.error)
    if made.absent is not None:
        return _unmade_row(sample.sample_id, output, "absent", made.absent)
    if output.kind == "text":
        return _text_row(sample.sample_id, output, made)
    if made.image is None:
        raise ValueError(f"a step for {output.name!r} gave {sample.sample_id!r} neither an image nor an error")
    photo = sample.images.get("rgb")
    if photo is not None and made.image.shape[:2] != photo.shape[:2]:
        raise ValueError(f"a step for {output.name!r} changed the size of {sample.sample_id!r}")
    return _image_row(sample.sample_id, output, made, images.encode(made.image, IMAGE_FORMAT), photo)


def absent_batch(sample_ids: Sequence[str], spec: TableSpec) -> pa.RecordBatch:
    """Rows of captures that lack a modality: aligned, and empty."""
    return _batch([_unmade_row(sample_id, spec, "absent", None) for sample_id in sample_ids], table_schema(spec))


def verdict_counts(folder: Path, shards: Sequence[ShardInfo]) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Count verdicts by split, and reasons, from the shards themselves."""
    counts: dict[str, Counter[str]] = {}
    reasons: Counter[str] = Counter()
    for shard in shards:  # absolute paths: pyarrow takes `a:b/c` for an address
        table = pq.read_table((folder / shard.file).absolute(), columns=["verdict", "reason"], partitioning=None)
        counts.setdefault(shard.split, Counter()).update(table.column("verdict").to_pylist())
        reasons.update(reason for reason in table.column("reason").to_pylist() if reason)
    return {split: dict(sorted(c.items())) for split, c in counts.items()}, dict(sorted(reasons.items()))


def split_infos(folder: Path, files: Mapping[str, Sequence[str]]) -> dict[str, SplitInfo]:
    """Size of each split, counted from its captures."""
    infos = {}
    for split, paths in files.items():
        if not paths:
            continue
        people: set[tuple[str, int]] = set()  # numbers of different data sets are different people
        roles: Counter[str] = Counter()
        for path in paths:
            table = pq.read_table((folder / path).absolute(), columns=["dataset", "pid", "role"], partitioning=None)
            known = table.filter(pc.not_equal(table["role"], "distractor"))  # nobody: their number is not a person's
            found = known.group_by(["dataset", "pid"]).aggregate([]).to_pydict()
            people.update(zip(found["dataset"], found["pid"], strict=True))
            roles.update(table.column("role").to_pylist())
        infos[split] = SplitInfo(rows=roles.total(), identities=len(people), roles=dict(sorted(roles.items())))
    return infos
