"""Modalities that stand in different rows of a person are paired by person: SYSU-MM01 from its layout to a batch."""

from __future__ import annotations

import layouts
import numpy as np
import pytest
import torch

from reidtrain.data import ReIDDataset, collate
from reidtrain.sampler import SAMPLERS
from reidtrain.transforms import ImageTransform


@pytest.fixture
def sysu(tmp_path):
    """The training split, photographs of which have infrared by channel augmentation too."""
    from reidsynth.engines import LocalEngine
    from reidsynth.ingest import ingest
    from reidsynth.jobs import Run

    root = str(layouts.sysu_mm01(tmp_path / "tree"))
    path = ingest(tmp_path / "m", "sysu-mm01", {"root": root}, run=Run(LocalEngine(1), progress=False)).path

    def read(ir):
        return ReIDDataset(
            path,
            "train",
            tables={"rgb": ("rgb",), "ir": ir},
            transform=ImageTransform((16, 8), (0.5,) * 3, (0.5,) * 3),
            tokenize=lambda texts: torch.zeros(len(texts), 4, dtype=torch.long),
        )

    return read


@pytest.mark.parametrize(("name", "options"), [("tuples", {}), ("random", {}), ("groups", {"per_identity": 2})])
@pytest.mark.parametrize("ir", [("ir",), ("ir", "online-ca")])
def test_real_infrared_comes_from_another_row_of_the_person(sysu, name, options, ir):
    data = sysu(ir)
    people = len(set(data.labels.tolist()))
    sampler = SAMPLERS[name](data.index(), batch_size=people * options.get("per_identity", 1), **options)
    draws = []
    for epoch in range(4):
        sampler.set_position(epoch)
        draws += [draw for batch in sampler for draw in batch]
    for draw in draws:
        photo, infrared = draw.rows["rgb"], draw.rows["ir"]
        assert (data.captured[photo], data.captured[infrared]) == ("rgb", "ir")
        assert data.labels[photo] == data.labels[infrared] == draw.label
        assert {data.camids[photo].item(), data.camids[infrared].item()} & {3, 6} == {data.camids[infrared].item()}
    batch = collate([data[draw] for draw in draws[:people]])
    assert bool(batch.present["ir"].all())
    assert np.array_equal(batch.labels.numpy(), [draw.label for draw in draws[:people]])
