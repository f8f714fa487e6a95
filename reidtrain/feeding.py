"""What feeds a run: the data set of its configuration, the samplers of its stages, the numbered batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.utils.data import DataLoader

from reidtrain.batch import Batch
from reidtrain.config import RunConfig
from reidtrain.data import ONLINE_LINEART, ReIDDataset, collate
from reidtrain.errors import UserError
from reidtrain.line_drawing import LineDrawer, load_lineart
from reidtrain.sampler import SAMPLERS, IdentityIndex, IdentitySampler
from reidtrain.stages import Stage, plan_stages, stage_at
from reidtrain.transforms import Augment, ImageTransform

if TYPE_CHECKING:
    from accelerate import Accelerator

    from reidtrain.backbones import DualEncoder


def training_data(config: RunConfig, backbone: DualEncoder) -> ReIDDataset:
    """The data set of a configuration, augmented.

    Raises:
        UserError: when no manifest is named, or one lacks what the configuration asks for.
    """
    if not config.data.manifests:
        raise UserError("no manifest is given: name one with --manifest (build one with `reidsynth build`)")
    augment = {name: Augment(**options.model_dump()) for name, options in config.data.augment}
    return ReIDDataset(
        list(config.data.manifests),
        config.data.split,
        tables=config.data.tables.named(),
        transform=ImageTransform(backbone.image_size, backbone.mean, backbone.std, augment),
        tokenize=backbone.tokenize,
        cache=config.data.cache,
        accept_failed=config.data.accept_failed,
        seed=config.train.seed,
    )


def training_stages(config: RunConfig, dataset: ReIDDataset, *, part: tuple[int, int] = (0, 1)) -> list[Stage]:
    """The stages of a configuration with their samplers, for process `part[0]` of `part[1]`."""

    def make(index: IdentityIndex) -> IdentitySampler:
        return SAMPLERS[config.sampler.name](
            index,
            batch_size=config.sampler.batch_size,
            per_identity=config.sampler.per_identity,
            pairing=config.sampler.pairing,
            seed=config.train.seed,
            part=part,
            shuffle_labels=config.train.shuffle_labels,
        )

    return plan_stages(config, dataset, make)


def finishing(config: RunConfig, dataset: ReIDDataset, accelerator: Accelerator) -> Callable[[Batch], Batch]:
    """What is done with a batch where the model runs: it is brought there, and sketches that are not stored are drawn.

    Raises:
        UserError: when sketches are to be drawn and the network that does so can't be had.
    """
    if not dataset.describe().get("sketch", {}).get(ONLINE_LINEART):
        return lambda batch: batch.to(accelerator.device)
    drawer = LineDrawer(load_lineart(config.data.lineart), dataset.transform.mean, dataset.transform.std)
    drawer.to(accelerator.device)

    def finish(batch: Batch) -> Batch:
        with accelerator.autocast():
            return cast(Batch, drawer(batch.to(accelerator.device)))

    return finish


def numbered_batches(
    config: RunConfig, dataset: ReIDDataset, stages: Sequence[Stage], start: int, total: int
) -> Iterator[tuple[int, Batch]]:
    """Number the batches from `start` to `total`, epoch after epoch, beginning in the middle of one if need be."""
    step = start
    while step < total:
        stage = stage_at(stages, step)
        loader = _loader(config, dataset, stage.sampler)
        while step < stage.stop:
            stage.sampler.set_position(*stage.position(step))
            for batch in loader:
                yield step, batch
                step += 1
                if step == stage.stop:
                    break


def _loader(config: RunConfig, dataset: ReIDDataset, sampler: IdentitySampler) -> DataLoader[Batch]:
    workers = config.data.workers
    return DataLoader(
        cast(Any, dataset),
        batch_sampler=cast(Any, sampler),
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_quiet_worker,
    )


def _quiet_worker(_: int) -> None:
    """One thread per worker: the loop's process has the others."""
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
