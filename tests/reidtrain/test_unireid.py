"""UNIReID: the forward pass against open_clip's own, the fused feature, what trains and what is refused."""

from __future__ import annotations

import pytest
import torch

from reidtrain.config import load_config
from reidtrain.errors import UserError
from reidtrain.losses import info_nce, unireid
from reidtrain.models import build_model
from reidtrain.objectives import OBJECTIVES

from .test_backbones import encoder
from .test_flexireid import make_batch


def make(**options):
    torch.manual_seed(1)
    return build_model("unireid", encoder(frozen=False), **options)


def test_features_are_clips_and_the_fused_one_is_their_sum():
    model, batch = make().eval(), make_batch()
    clip = model.backbone.clip
    with torch.no_grad():
        outputs = model(batch)
        sketch, text = clip.encode_image(batch.images["sketch"]), clip.encode_text(batch.tokens)
        torch.testing.assert_close(outputs.features["fused"], sketch + text)
        for modalities, expected in {
            ("rgb",): clip.encode_image(batch.images["rgb"]),
            ("sketch",): sketch,
            ("text",): text,
            ("text", "sketch"): sketch + text,
        }.items():
            assert model.supports(modalities)
            torch.testing.assert_close(model.encode(batch, modalities), expected)


def test_the_objective_reads_whole_rows_only():
    model, batch = make().eval(), make_batch()
    batch.present["sketch"][1] = False
    batch.images["sketch"][1] = 100.0
    losses = OBJECTIVES["unireid"](model(batch), batch, {"gamma": 2.0})
    rows = [0, 2, 3]
    features = [model.encode(batch, m)[rows] for m in (("rgb",), ("sketch",), ("text",), ("text", "sketch"))]
    expected = unireid(*features, scale=model.scale, gamma=2.0)
    torch.testing.assert_close(losses["total"], expected["total"])
    batch.present["text"][:] = False
    nothing = OBJECTIVES["unireid"](model(batch), batch, {})["total"]
    nothing.backward()
    assert float(nothing.detach()) == 0.0


@pytest.mark.parametrize("task", ["text", "sketch", "fused"])
def test_a_task_trained_alone_minimises_its_own_pair_loss(task):
    """The first line of each task in the paper's table 2: InfoNCE of that task and nothing else."""
    options = load_config(f"unireid:{task}-only").objective.options
    model, batch = make().eval(), make_batch()
    outputs = model(batch)
    losses = OBJECTIVES["unireid"](outputs, batch, options)
    expected = info_nce(outputs.features[task], outputs.features["rgb"], scale=outputs.scale).mean()
    torch.testing.assert_close(losses["total"], expected)


def test_batch_statistics_stay_unless_told_otherwise():
    for frozen, seen in ((True, 0), (False, 1)):
        model = make(frozen_statistics=frozen).train()
        model(make_batch())
        assert int(model.backbone.clip.visual.conv1.layers[1].batch.num_batches_tracked) == seen


def test_what_is_refused():
    model, batch = make(), make_batch()
    assert not model.supports(("ir",))
    assert not model.supports(("rgb", "text"))
    with pytest.raises(UserError, match="cannot encode text\\+ir"):
        model.encode(batch, ("text", "ir"))
    with pytest.raises(UserError, match="no option colour"):
        make(colour=1)
    with pytest.raises(UserError, match="scale is 0"):
        make(scale=0)
    with pytest.raises(UserError, match="objective unireid has no option speed"):
        OBJECTIVES["unireid"](model(batch), batch, {"speed": 1})
