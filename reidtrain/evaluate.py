"""Model + manifest + protocol -> result."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from reidtrain.batch import parse_mode
from reidtrain.data import ONLINE_CA, ONLINE_LINEART, ReIDDataset, open_manifest
from reidtrain.errors import UserError
from reidtrain.features import Encoder, Features, FrozenEncoder
from reidtrain.hardware import choose_device
from reidtrain.metrics import SYSU_HIDDEN_CAMERA, SYSU_QUERY_CAMERA, Ranking, rank, rank_features
from reidtrain.overlap import datasets_of
from reidtrain.preference import table_of
from reidtrain.protocols import (
    Setting,
    Task,
    choose_protocol,
    choose_settings,
    missing,
    plan,
)
from reidtrain.reranking import Rerank, reranked
from reidtrain.results import ModeResult, QueryRows, Result
from reidtrain.transforms import ImageTransform

if TYPE_CHECKING:
    from reidtrain.backbones import DualEncoder
    from reidtrain.checkpoint import LoadedRun

MAX_RANK = 50


def evaluate_run(
    run: str | Path,
    manifest: str | Path,
    *,
    split: str = "test",
    modes: Sequence[str] | None = None,
    frozen: bool = False,
    device: str | torch.device | None = None,
    protocol: str | None = None,
    rerank: Rerank | None = None,
) -> Result:
    """Evaluate a run's best checkpoint on a manifest.

    Args:
        run: the run folder, or one of its checkpoints.
        manifest: the manifest's folder.
        split: which of its splits.
        modes: query modes or names of settings; None means all that the manifest has the modalities for.
        frozen: evaluate the run's frozen encoder instead of the model, see `FrozenEncoder`.
        device: where the model runs; None takes a GPU where there is one.
        protocol: name of a protocol; None chooses by the manifest's data set.
        rerank: constants of k-reciprocal re-ranking, None for none.

    Returns:
        The result.

    Raises:
        UserError: when the run, the split, or a modality of a mode that was asked for is missing, or when nothing can
            be evaluated.
    """
    from reidtrain.checkpoint import load_run

    loaded = load_run(run, choose_device(device))
    return evaluate_loaded(loaded, manifest, split=split, modes=modes, frozen=frozen, protocol=protocol, rerank=rerank)


def evaluate_loaded(
    loaded: LoadedRun,
    manifest: str | Path,
    *,
    split: str = "test",
    modes: Sequence[str] | None = None,
    frozen: bool = False,
    protocol: str | None = None,
    rerank: Rerank | None = None,
) -> Result:
    """Evaluate a loaded model; see `evaluate_run`.

    Args:
        loaded: the model, on its device.
        manifest: the manifest's folder.
        split: which of its splits.
        modes: query modes or names of settings, None for all possible ones.
        frozen: evaluate the frozen encoder instead.
        protocol: name of a protocol; None chooses by the manifest's data set.
        rerank: constants of k-reciprocal re-ranking, None for none.

    Returns:
        The result.

    Raises:
        UserError: as `evaluate_run`.
    """
    started = time.perf_counter()
    dataset = evaluation_data(loaded, manifest, split, modes)
    benchmark = choose_protocol(dataset.datasets.tolist(), protocol)
    asked = _supported(choose_settings(benchmark, modes), loaded, bool(modes))
    settings, left_out = _possible(asked, dataset, f"{split!r} of {manifest}", bool(modes))
    encoder = FrozenEncoder(_untrained(loaded)) if frozen else cast(Encoder, loaded.model)
    found, unmatched = evaluate_settings(
        encoder,
        dataset,
        settings,
        device=next(loaded.backbone.parameters()).device,
        workers=loaded.config.data.workers,
        rerank=rerank,
    )
    if unmatched and (modes or not found):
        raise UserError(
            f"no query of {', '.join(unmatched)} in split {split!r} of {manifest} has a match left in the gallery: "
            "each queried person needs a second image there (of another camera, where cameras are known)"
        )
    return Result(
        features="frozen" if frozen else "model",
        model=loaded.config.model.name,
        backbone=loaded.config.backbone.name,
        preset=loaded.config.preset,
        step=0 if frozen else loaded.step,
        protocol=benchmark.name,
        datasets=tuple(sorted(set(dataset.datasets.tolist()))),
        split=split,
        selected_on=None if frozen else _selected_on(loaded),
        data=dataset.checksum,
        tables={modality: dict(counts) for modality, counts in dataset.describe().items()},
        modes=found,
        left_out={**left_out, **dict.fromkeys(unmatched, "no query has a match left in the gallery")},
        seconds=time.perf_counter() - started,
        ranks=benchmark.ranks,
        rerank=None if rerank is None else str(rerank),
        image_size=tuple(loaded.backbone.image_size),
        trained_on=() if frozen else _trained_on(loaded),
        made_by={
            name: _makers(manifest, used)
            for name, tables in dataset.describe().items()
            if (used := [table for table, rows in tables.items() if rows])
        },
    )


def _trained_on(loaded: LoadedRun) -> tuple[str, ...]:
    """Data sets that the run was trained on: from its checkpoint, or else from its manifests; empty where unknown."""
    kept = loaded.meta.get("data", {}).get("datasets")
    if kept:
        return tuple(kept)
    found: set[str] = set()
    for path in loaded.config.data.manifests:
        try:
            found |= datasets_of(path, loaded.config.data.split)
        except UserError:
            return ()
    return tuple(sorted(found))


def _makers(manifest: str | Path, tables: Sequence[str]) -> str:
    """What made the tables of a modality: `real`, or step and method."""
    there = open_manifest(manifest).tables
    steps = {name: there[name].step if name in there else None for name in tables}
    told = [
        f"{step.name} {step.method}" if step else ("online" if name == ONLINE_CA else str(there[name].origin))
        for name, step in steps.items()
    ]
    return " and ".join(dict.fromkeys(told))


def _supported(settings: Sequence[Setting], loaded: LoadedRun, asked: bool) -> list[Setting]:
    """The settings whose query and gallery the model can encode; its frozen encoder is asked the same."""
    model = cast(Encoder, loaded.model)
    able = [s for s in settings if model.supports(s.mode.query) and model.supports(s.mode.gallery)]
    if len(able) < len(settings) and (asked or not able):
        lost = [setting.name for setting in settings if setting not in able]
        mend = f"ask for {', '.join(setting.name for setting in able)}" if able else "ask for other modes"
        raise UserError(f"the model {loaded.config.model.name} does not encode all of {', '.join(lost)}: {mend}")
    return able


def _untrained(loaded: LoadedRun) -> DualEncoder:
    """The run's encoder as it was before training."""
    part = loaded.config.backbone
    if part.frozen:
        return loaded.backbone
    from reidtrain.backbones import build_backbone

    fresh = build_backbone(part.name, image_size=part.image_size)
    return fresh.to(next(loaded.backbone.parameters()).device)


def _selected_on(loaded: LoadedRun) -> str | None:
    """The split that chose the checkpoint; None for a checkpoint that nothing chose."""
    from reidtrain.checkpoint import read_best

    return cast("str | None", read_best(loaded.path.parent.parent).get("split")) if loaded.meta else None


def evaluation_data(
    loaded: LoadedRun, manifest: str | Path, split: str, modes: Sequence[str] | None = None
) -> ReIDDataset:
    """Open a split with the tables that a run was configured for.

    A data set that is only evaluated may name its tables otherwise, and real ones (colour pencil of ORBench) are never
    left aside: of every configured modality all other real tables come after the configured ones, and where there is
    none of these, the synthetic ones by name. The result's `tables` say what was read.

    Args:
        loaded: whose transform, tokenizer and tables are used.
        manifest: the manifest's folder.
        split: which split.
        modes: modes whose modalities must be there; other modalities are read where the manifest has them.

    Returns:
        The data set, without augmentation.

    Raises:
        UserError: when the split or a needed modality is missing.
    """
    tables = open_manifest(manifest).tables
    there = tables.keys() | {ONLINE_CA}
    configured = {}
    for modality, named in loaded.config.data.tables.named().items():
        offered = {name: info.origin for name, info in tables.items() if info.spec.modality == modality}
        real = [name for name, origin in sorted(offered.items()) if origin == "real"]
        # Sketches that training draws where the model runs are none of an evaluation's.
        kept = [name for name in named if table_of(name) != ONLINE_LINEART]
        found = tuple(dict.fromkeys((*kept, *real)))
        configured[modality] = found if there & {*map(table_of, found)} else (*found, *sorted(offered))
    needed = {name for mode in modes or () for side in _modalities(mode) for name in side}
    wanted = {name: tables for name, tables in configured.items() if name in needed or there & {*map(table_of, tables)}}
    return ReIDDataset(
        manifest,
        split,
        tables=wanted,
        transform=evaluation_transform(loaded.backbone),
        tokenize=loaded.backbone.tokenize,
        accept_failed=loaded.config.data.accept_failed,
    )


def evaluation_transform(backbone: DualEncoder) -> ImageTransform:
    """Resize and normalise for an encoder, nothing else."""
    return ImageTransform(backbone.image_size, backbone.mean, backbone.std)


def _modalities(mode: str) -> tuple[tuple[str, ...], ...]:
    try:
        parsed = parse_mode(mode.partition(",")[0])
    except UserError:
        return ()  # the name of a setting, or a mistake that `choose_settings` explains
    return parsed.query, parsed.gallery


def _possible(
    settings: Sequence[Setting], dataset: ReIDDataset, where: str, asked: bool
) -> tuple[list[Setting], dict[str, str]]:
    """Split settings into those that the data allow and reasons for the others."""
    left_out = {setting.name: why for setting in settings if (why := missing(setting, dataset))}
    possible = [setting for setting in settings if setting.name not in left_out]
    if left_out and (asked or not possible):
        reasons = "; ".join(f"{', '.join(names)}: {why}" for why, names in _by_reason(left_out).items())
        mend = (
            f"choose among {', '.join(setting.name for setting in possible)}" if possible else "build what is missing"
        )
        raise UserError(f"split {where} can't be evaluated as asked ({reasons}): {mend}")
    return possible, left_out


def _by_reason(left_out: Mapping[str, str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, why in left_out.items():
        grouped.setdefault(why, []).append(name)
    return grouped


def evaluate_settings(
    encoder: Encoder,
    dataset: ReIDDataset,
    settings: Sequence[Setting],
    *,
    device: torch.device | str = "cpu",
    workers: int = 0,
    rerank: Rerank | None = None,
) -> tuple[dict[str, ModeResult], list[str]]:
    """Evaluate settings with any encoder.

    Args:
        encoder: the model; its batches hold the modalities asked for, present in every row.
        dataset: the split.
        settings: each possible on it.
        device: where batches go.
        workers: processes that load.
        rerank: constants of k-reciprocal re-ranking, None for none.

    Returns:
        Setting's name -> result, and the names of those in which no query has a match.

    Raises:
        UserError: when the features are not finite.
    """
    tasks = {setting.name: [plan(setting, dataset, n) for n in range(setting.trials)] for setting in settings}
    features = Features(encoder, dataset, device=device, workers=workers)
    features.compute([task for trials in tasks.values() for task in trials])
    found: dict[str, ModeResult] = {}
    unmatched: list[str] = []
    for name, trials in tasks.items():
        features.compute_queries(trials)
        started = time.perf_counter()
        rankings = [_rank(task, features, dataset.labels, rerank) for task in trials]
        kept = [ranking for ranking in rankings if ranking is not None]
        if len(kept) < len(rankings):
            unmatched.append(name)
        else:
            found[name] = _mode_result(trials, kept, dataset, time.perf_counter() - started)
    return found, unmatched


def _rank(task: Task, features: Features, labels: np.ndarray, rerank: Rerank | None) -> Ranking | None:
    query, gallery = labels[task.query_rows], labels[task.gallery_rows]
    if not _any_match(task, query, gallery):
        return None
    asking, answering = features.queries(task), features.of(task.setting.mode.gallery, task.gallery_rows)
    rules: dict[str, Any] = {
        "query_keys": None if task.query_keys is None else torch.from_numpy(task.query_keys),
        "gallery_keys": None if task.gallery_keys is None else torch.from_numpy(task.gallery_keys),
        "exclude": task.exclude,
        "unique_identities": task.setting.unique_identities,
        "max_rank": MAX_RANK,
    }
    pids = torch.from_numpy(query), torch.from_numpy(gallery)
    if rerank is not None:
        return rank(reranked(asking, answering, rerank), *pids, **rules)
    return rank_features(asking, answering, *pids, **rules)


def _any_match(task: Task, query: np.ndarray, gallery: np.ndarray) -> bool:
    """Whether some query keeps a relevant item."""
    if task.query_keys is None or task.gallery_keys is None:
        return bool(np.isin(query, gallery).any())
    keys: dict[int, set[int]] = {}
    for label, key in zip(gallery.tolist(), task.gallery_keys.tolist(), strict=True):
        keys.setdefault(label, set()).add(key)
    for label, key in zip(query.tolist(), task.query_keys.tolist(), strict=True):
        hidden = {SYSU_HIDDEN_CAMERA} if key == SYSU_QUERY_CAMERA else set()
        if keys.get(label, set()) - (hidden if task.exclude == "sysu" else {key}):
            return True
    return False


def _mode_result(
    tasks: Sequence[Task], rankings: Sequence[Ranking], dataset: ReIDDataset, seconds: float
) -> ModeResult:
    """Average the trials; counts are those of the first one."""
    first, task = rankings[0], tasks[0]
    cmc = torch.stack([ranking.cmc for ranking in rankings]).mean(0)
    count = len(rankings)
    values = {
        "R1": [float(ranking.cmc[0]) for ranking in rankings],
        "mAP": [ranking.mAP for ranking in rankings],
        "mINP": [ranking.mINP for ranking in rankings],
    }
    return ModeResult(
        cmc=tuple(cmc.tolist()),
        mAP=sum(values["mAP"]) / count,
        mINP=sum(values["mINP"]) / count,
        chance=sum(ranking.chance for ranking in rankings) / count,
        queries=len(task.query_rows),
        valid=first.valid_queries,
        skipped=first.skipped_queries,
        lacking=task.lacking,
        gallery=len(task.gallery_rows),
        exclude=task.exclude,
        unique_identities=task.setting.unique_identities,
        trials=count,
        seconds=seconds,
        spread={name: statistics.stdev(found) for name, found in values.items()} if count > 1 else {},
        per_query=tuple(
            _query_rows(number, task, ranking, dataset)
            for number, (task, ranking) in enumerate(zip(tasks, rankings, strict=True))
        ),
    )


def _query_rows(trial: int, task: Task, ranking: Ranking, dataset: ReIDDataset) -> QueryRows:
    rows = task.query_rows
    return QueryRows(
        trial=trial,
        sample_ids=dataset.sample_ids[rows],
        captions=task.captions,
        pids=dataset.pids[rows],
        camids=dataset.camids[rows],
        ranking=ranking,
    )
