"""FlexiReID: gates by hand, shapes, step 0 equals the backbone, gradients everywhere, one small fit."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from reidtrain.batch import SEVEN_MODES, Batch
from reidtrain.errors import UserError
from reidtrain.losses import unit
from reidtrain.models import MODELS, build_model
from reidtrain.models.experts import ExpertLayer, ExpertOptions
from reidtrain.models.flexireid import adaptive_gates
from reidtrain.models.fusion import Fusion, segment_tokens, stripe_tokens
from reidtrain.models.options import FUSIONS, ROUTINGS, FlexiReIDOptions
from reidtrain.objectives import OBJECTIVES

from .test_backbones import encoder

OPTIONS = {"local_tokens": 4, "adapter_width": 4, "fusion_heads": 2}


def make_batch(rows=4, seed=0, texts=None):
    generator = torch.Generator().manual_seed(seed)
    backbone = encoder()
    words = ["a man in a red shirt", "a woman with a blue bag", "red", "a blue shirt"]
    images = {name: torch.randn(rows, 3, 64, 32, generator=generator) for name in ("rgb", "ir", "sketch")}
    present = {name: torch.ones(rows, dtype=torch.bool) for name in (*images, "text")}
    ids = backbone.tokenize((texts or words * rows)[:rows])
    return Batch(images, ids, present, torch.arange(rows), torch.arange(rows))


def make_model(name="flexireid", **options):
    torch.manual_seed(1)
    return build_model(name, encoder(), **{**OPTIONS, **options})


def slow_gates(row, threshold):
    order = sorted(range(len(row)), key=lambda i: (-row[i], i))
    gates, total = [0.0] * len(row), 0.0
    for i in order:
        gates[i] = row[i]
        total += row[i]
        if total > threshold:
            break
    return gates


def test_gates_by_hand():
    # 0.25 is exact in binary, so that "strictly greater" is tested without rounding.
    row = torch.tensor([0.25, 0.25, 0.25, 0.25])
    for threshold, active in [(0.0, 1), (0.2, 1), (0.25, 2), (0.5, 3), (0.74, 3), (0.75, 4), (1.0, 4)]:
        gates, count = adaptive_gates(row, threshold)
        assert int(count) == active
        assert gates.tolist() == [0.25] * active + [0.0] * (4 - active)
    gates, count = adaptive_gates(torch.tensor([0.125, 0.625, 0.25]), 0.6)
    assert (gates.tolist(), int(count)) == ([0.0, 0.625, 0.0], 1)


def test_gates_equal_the_loop():
    probabilities = torch.rand(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
    for threshold in (0.0, 0.4, 0.6, 0.95):
        gates, active = adaptive_gates(probabilities, threshold)
        expected = torch.tensor([slow_gates(row, threshold) for row in probabilities.tolist()], dtype=torch.float64)
        torch.testing.assert_close(gates, expected)
        assert torch.equal(active, (expected > 0).sum(dim=-1))


@pytest.mark.parametrize("routing", ["adaptive", "topk", "soft", "hash"])
def test_expert_layer_equals_expert_by_expert(routing):
    torch.manual_seed(0)
    layer = ExpertLayer(8, ExpertOptions(count=3, routing=routing, width=5, scale=0.5))
    torch.nn.init.normal_(layer.up)
    torch.nn.init.normal_(layer.up_bias)
    tokens = torch.randn(2, 4, 8)
    update, routed = layer(tokens, None)
    probabilities = routed.probabilities
    gates = {
        "adaptive": adaptive_gates(probabilities, 0.6)[0],
        "topk": torch.where(probabilities >= probabilities.sort(descending=True).values[..., 1:2], probabilities, 0.0),
        "soft": probabilities,
        "hash": torch.eye(3)[torch.arange(4) % 3].expand(2, 4, 3),
    }[routing]
    expected = torch.zeros_like(tokens)
    for i in range(3):
        rows = slice(5 * i, 5 * i + 5)
        hidden = (tokens @ layer.down.weight[rows].T + layer.down.bias[rows]).relu()
        expected += gates[..., i : i + 1] * (hidden @ layer.up[rows] + layer.up_bias[i])
    torch.testing.assert_close(update, expected * 0.5)


def test_top_k_takes_the_lower_index_of_equal_experts():
    torch.manual_seed(0)
    layer = ExpertLayer(8, ExpertOptions(count=7, routing="topk", top_k=3, width=2))
    torch.nn.init.zeros_(layer.router.weight)
    torch.nn.init.normal_(layer.up)
    torch.nn.init.zeros_(layer.up_bias)
    tokens = torch.randn(2, 4, 8)
    before, _ = layer(tokens, None)
    layer.up.data[6:] = 0.0  # what experts 3 to 6 would add
    torch.testing.assert_close(layer(tokens, None)[0], before, rtol=0, atol=0)


@pytest.mark.parametrize("routing_unit", ["token", "sequence"])
@pytest.mark.parametrize("routing", ["adaptive", "topk", "soft", "hash"])
def test_sparse_experts_equal_dense_ones(routing, routing_unit):
    """Forward and all gradients, in float64; in a batch one expert of which nobody asks."""
    options = {"count": 5, "routing": routing, "routing_unit": routing_unit, "width": 4, "scale": 0.7}
    torch.manual_seed(1)
    dense = ExpertLayer(8, ExpertOptions(form="dense", **options)).double()
    for parameter in dense.parameters():
        torch.nn.init.normal_(parameter)
    sparse = ExpertLayer(8, ExpertOptions(form="sparse", **options)).double()
    sparse.load_state_dict(dense.state_dict())
    if dense.router is not None and routing != "soft":
        for layer in (dense, sparse):
            layer.router.weight.data[3] = -5.0
    tokens = torch.rand(3, 4, 8, dtype=torch.double)  # hash: four positions, so the fifth expert gets nothing
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True] * 4])
    found = []
    for layer in (dense, sparse):
        inputs = tokens.clone().requires_grad_()
        update, routed = layer(inputs, mask)
        (update.sin().sum() + routed.probabilities.pow(2).sum()).backward()
        found.append([update, inputs.grad, *(parameter.grad for parameter in layer.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_the_form_is_chosen_by_width_and_active_share(monkeypatch):
    def form(width, concentration, **options):
        layer = ExpertLayer(8, ExpertOptions(width=width, **options))
        torch.nn.init.zeros_(layer.router.weight)
        layer.router.weight.data[0] = concentration
        chosen = []
        for name in ("_dense", "_sparse"):
            monkeypatch.setattr(layer, name, lambda tokens, gates, name=name: chosen.append(name) or tokens)
        layer(torch.ones(1, 3, 8), None)
        return chosen[0]

    assert form(64, 5.0) == "_sparse"  # one of six is active
    assert form(64, 0.0) == "_dense"  # all alike: four of six
    assert form(16, 5.0) == "_dense"  # too narrow to pay
    assert form(16, 5.0, form="sparse") == "_sparse"
    assert form(64, 5.0, form="dense") == "_dense"
    with pytest.raises(UserError, match="moe is 'fast', choose one of dense, sparse, auto"):
        FlexiReIDOptions(moe="fast")


def test_sequence_routing_reads_real_tokens_only():
    layer = ExpertLayer(8, ExpertOptions(routing_unit="sequence"))
    tokens, mask = torch.randn(2, 5, 8), torch.tensor([[True] * 5, [True, True, False, False, False]])
    other = tokens.clone()
    other[1, 2:] = 9.0
    first, second = layer(tokens, mask)[1], layer(other, mask)[1]
    assert first.probabilities.shape == (2, 1, 6)
    torch.testing.assert_close(first.probabilities, second.probabilities)


def test_local_tokens():
    patches = torch.arange(8.0).reshape(1, 8, 1)
    assert stripe_tokens(patches, (4, 2), 2).flatten().tolist() == [1.5, 5.5]
    assert stripe_tokens(patches, (4, 2), 4).flatten().tolist() == [0.5, 2.5, 4.5, 6.5]
    tokens = torch.arange(12.0).reshape(2, 6, 1)
    got = segment_tokens(tokens, torch.tensor([6, 2]), 3)
    assert got[0].flatten().tolist() == [0.5, 2.5, 4.5]
    # Two tokens in three segments: [0], [0, 1], [1].
    assert got[1].flatten().tolist() == [6.0, 6.5, 7.0]


def make_registered(name):
    if name == "flexireid":
        return make_model(name)
    torch.manual_seed(1)
    options = {"aio": {"classes": 4}, "dmf": {"classes": 4, "width": 16, "depth": 1, "heads": 2}}
    return build_model(name, encoder(frozen=name != "unireid"), **options.get(name, {}))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_registered_means_tested(name):
    model, batch = make_registered(name).train(), make_batch(rows=16)
    batch.labels = batch.labels % 4
    frozen = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    trainable = [(key, value) for key, value in model.named_parameters() if value.requires_grad]
    optimizer = torch.optim.Adam([value for _, value in trainable], lr=1e-2)
    for _ in range(3):
        losses = OBJECTIVES[name](model(batch), batch, {})
        optimizer.zero_grad()
        losses["total"].backward()
        assert all(torch.isfinite(value.grad).all() for _, value in trainable)
        optimizer.step()
    idle = [key for key, value in trainable if value.grad is None or not value.grad.abs().sum() > 0]
    assert idle == []
    assert model.supports(("rgb",))
    if not model.backbone.frozen:
        return
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert all(torch.equal(value, frozen[key]) for key, value in model.backbone.state_dict().items())


@pytest.mark.parametrize(
    "options",
    [
        *({"routing": routing} for routing in ROUTINGS),
        *({"fusion": fusion} for fusion in FUSIONS),
        {"missing": "zeros"},
        {"residual_global": True},
        {"routing_unit": "sequence"},
    ],
    ids=str,
)
def test_every_option_trains(options):
    model, batch = make_model(**options).train(), make_batch()
    outputs = model(batch)
    losses = OBJECTIVES["flexireid"](outputs, batch, {})
    losses["total"].backward()
    assert tuple(outputs.queries) == tuple(mode.query for mode in SEVEN_MODES)
    assert all(value.shape == (4, 16) for value in outputs.queries.values())
    assert all(torch.isfinite(value).all() for value in losses.values())
    assert all(value.grad is not None for value in model.parameters() if value.requires_grad)
    assert ("ada" in losses) == (options.get("routing") != "mlp")


def test_step_zero_equals_the_backbone():
    model, batch = make_model(residual_global=True).eval(), make_batch()
    with torch.no_grad():
        rgb = model.backbone.image_tokens(batch.images["rgb"])[0]
        parts = {name: model.backbone.image_tokens(batch.images[name])[0] for name in ("sketch", "ir")}
        parts["text"] = model.backbone.text_tokens(batch.tokens)[0]
        torch.testing.assert_close(model.encode(batch, ("rgb",)), rgb)
        for size in (1, 2, 3):
            for modalities in itertools.combinations(("text", "sketch", "ir"), size):
                expected = torch.stack([unit(parts[name]) for name in modalities]).sum(dim=0)
                torch.testing.assert_close(model.encode(batch, modalities), expected, rtol=1e-4, atol=1e-5)


def test_encode_equals_forward():
    model, batch = make_model().eval(), make_batch()
    with torch.no_grad():
        outputs = model(batch)
        for modalities, features in outputs.queries.items():
            torch.testing.assert_close(model.encode(batch, modalities), features, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.encode(batch, ("rgb",)), outputs.gallery, rtol=1e-4, atol=1e-5)


def test_an_absent_modality_is_never_read():
    model, batch = make_model().eval(), make_batch()
    batch.present["ir"][1] = False
    other = make_batch()
    other.present["ir"][1] = False
    other.images["ir"][1] = 100.0
    with torch.no_grad():
        first, second = model(batch), model(other)
        for modalities in first.queries:
            torch.testing.assert_close(first.queries[modalities], second.queries[modalities], rtol=1e-4, atol=1e-5)
        only_text = model.encode(batch, ("text",))
        torch.testing.assert_close(model.encode(batch, ("text", "ir"))[1], only_text[1], rtol=1e-4, atol=1e-5)
    assert first.valid[("text", "ir")].tolist() == [True, False, True, True]


def test_a_batch_without_a_modality_trains_the_other_modes():
    model, batch = make_model(), make_batch()
    del batch.images["ir"]
    batch.present["ir"][:] = False
    outputs = model(batch)
    assert sorted(outputs.queries) == [("sketch",), ("text",), ("text", "sketch")]
    assert torch.isfinite(OBJECTIVES["flexireid"](outputs, batch, {})["total"])
    batch.present["text"][:] = False
    losses = OBJECTIVES["flexireid"](model(batch), batch, {})
    assert [name for name in losses if "/" in name] == ["sdm/S->R"]


def test_text_query_attends_to_its_tokens():
    torch.manual_seed(0)
    fusion = Fusion(16, local_tokens=4, heads=2)
    tokens = torch.randn(2, 5, 16)
    held = {"text": torch.ones(2, dtype=torch.bool)}
    base = fusion({"text": tokens}, held)
    changed = tokens.clone()
    changed[:, 3] += 1.0
    assert not torch.allclose(fusion({"text": changed}, held), base)


def test_the_adaptive_loss_falls():
    model, batch = make_model(adapter_scale=1.0), make_batch()
    optimizer = torch.optim.Adam([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    history = []
    for _ in range(25):
        losses = OBJECTIVES["flexireid"](model(batch), batch, {"entropy_weight": 5.0})
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        history.append((losses["sdm"].item(), losses["ada"].item(), losses["active_experts"].item()))
    assert history[0][1] == pytest.approx(math.log(6), abs=0.3)
    assert history[-1][1] < 0.8 * history[0][1]
    assert history[-1][0] < 0.5 * history[0][0]
    assert history[-1][2] < history[0][2]


def test_objective_options():
    model, batch = make_model(), make_batch()
    outputs = model(batch)
    plain = OBJECTIVES["flexireid"](outputs, batch, {"entropy_weight": 0.0})
    double = OBJECTIVES["flexireid"](outputs, batch, {"entropy_weight": 0.0, "mode_weights": {"T->R": 2.0}})
    torch.testing.assert_close(double["total"], plain["total"] + plain["sdm/T->R"])
    torch.testing.assert_close(plain["total"], plain["sdm"])
    with pytest.raises(UserError, match="no option speed"):
        OBJECTIVES["flexireid"](outputs, batch, {"speed": 1})


def test_what_goes_wrong_is_said():
    with pytest.raises(UserError, match="model 'flexi' is unknown"):
        build_model("flexi", encoder())
    with pytest.raises(UserError, match="no option colour"):
        make_model(colour=1)
    with pytest.raises(UserError, match=r"routing is 'best'.*; .*threshold is 2"):
        make_model(routing="best", threshold=2)
    with pytest.raises(UserError, match="only 4 rows"):
        make_model(local_tokens=5)
    with pytest.raises(UserError, match="must divide the feature length 16"):
        make_model(fusion_heads=3)
    model, batch = make_model(), make_batch()
    with pytest.raises(UserError, match=r"cannot encode rgb\+text"):
        model.encode(batch, ("rgb", "text"))
    del batch.images["ir"]
    with pytest.raises(UserError, match="hold no ir"):
        model.encode(batch, ("ir",))
