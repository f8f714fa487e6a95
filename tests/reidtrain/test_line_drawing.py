"""Sketches drawn in training: as the same network's stored ones would be, resumed exactly, and what goes wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_data import TABLES, open_data

from reidtrain.checkpoint import assemble, checkpoints, read_weights
from reidtrain.config import load_config
from reidtrain.data import ONLINE_CA, ONLINE_LINEART, collate
from reidtrain.errors import UserError
from reidtrain.feeding import finishing, training_data, training_stages
from reidtrain.line_drawing import LineDrawer, load_lineart
from reidtrain.runlog import read_log
from reidtrain.sampler import Draw
from reidtrain.train import train
from reidtrain.transforms import CHANNEL_CONSTANTS, Augment, Changes, ImageTransform, raw

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The network's file with random weights."""
    from controlnet_aux.lineart import Generator

    torch.manual_seed(0)
    network = Generator(3, 1, 3)
    path = tmp_path_factory.mktemp("lineart") / "sk_model.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.parametrize("recipe", [Augment(pad=3), Augment(pad=3, pad_fill="edge", erase=1), Augment(channel_erase=1)])
def test_a_drawing_is_augmented_as_a_stored_sketch(weights, recipe):
    network, size = load_lineart(weights), (30, 18)  # sides that the network does not divide
    transform = ImageTransform(size, MEAN, STD, {"sketch": recipe})
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(6)]
    changes = [transform.changes("sketch", np.random.default_rng(seed)) for seed in range(6)]
    images = torch.stack([raw(photo) for photo in photos])
    batch = _batch(images, (*changes[:4], None, changes[5]))
    before = images.clone()
    drawn = LineDrawer(network, MEAN, STD, most=2)(batch)
    assert torch.equal(images, before)
    assert drawn.undrawn is None
    assert torch.equal(drawn.images["sketch"][4], images[4])  # a stored one stays
    for row in (0, 1, 2, 3, 5):
        with torch.no_grad():
            alone = network(torch.nn.functional.pad(images[row : row + 1], (0, 2, 0, 2), mode="replicate"))
        stored = (alone[0, 0, :30, :18].clamp(0, 1) * 255).round().byte().numpy()
        wanted = transform(np.stack([stored] * 3, axis=2), modality="sketch", rng=np.random.default_rng(row))
        assert (drawn.images["sketch"][row] - wanted).abs().max() < 0.51 / 255 / min(STD)


def _batch(images, undrawn):
    from reidtrain.batch import Batch

    rows = torch.arange(len(images))
    return Batch({"sketch": images}, None, {"sketch": rows >= 0}, rows, rows, undrawn)


def test_changes_are_those_of_the_augmentation():
    recipe = Augment(flip=1, pad=2, erase=0, channel_erase=1, channel="replicate")
    transform = ImageTransform((12, 8), MEAN, STD, {"ir": recipe})
    drawn = transform.changes("ir", np.random.default_rng(5))
    assert (drawn.flip, drawn.pad, drawn.constants) == (True, 2, True)
    assert drawn.channel in "RGB"
    out = transform(np.full((12, 8, 3), 200, np.uint8), modality="ir", rng=np.random.default_rng(5))
    top, left, tall, wide = drawn.box
    assert torch.allclose(out[:, top : top + tall, left : left + wide].amax((1, 2)), torch.tensor(CHANNEL_CONSTANTS))
    assert transform.changes("sketch", np.random.default_rng(5)) == Changes()


def test_rows_yet_to_be_drawn_are_marked(people):
    tables = {**TABLES, "sketch": ("sketch", ONLINE_LINEART)}
    data = open_data(people(sketchless=2), tables=tables, augment={"sketch": Augment(pad=2)})
    assert data.describe()["sketch"] == {"sketch": 24, ONLINE_LINEART: 24}
    assert list(data.origin["sketch"][:2]) == ["synthetic", "real"]
    rows = {name: 0 for name in ("rgb", "sketch")}, {name: 1 for name in ("rgb", "sketch")}
    batch = collate([data[Draw(row, 0, 0, 3)] for row in rows])
    assert batch.undrawn[1] is None
    photo = data.transform.fit(data.pixels(0, "rgb"))
    assert torch.equal(batch.images["sketch"][0], raw(photo))
    again = collate([data[Draw(rows[0], 0, 0, 3)], data[Draw(rows[0], 0, 0, 4)]]).undrawn
    assert batch.undrawn[0] == again[0] != again[1]
    assert collate([data[Draw(rows[1], 0, 0, 3)]]).undrawn is None
    assert [piece.undrawn for piece in batch.split(2)] == [(batch.undrawn[0],), (None,)]


def test_a_table_may_serve_one_data_set_alone(people):
    tables = {**TABLES, "ir": (f"{ONLINE_CA}:others", "ir"), "sketch": ("sketch-late:people",)}
    data = open_data([people(), people(dataset_name="others")], tables=tables)
    assert data.describe()["ir"] == {ONLINE_CA: 48, "ir": 48}
    assert set(data.datasets[data.present["sketch"]]) == {"people"}
    assert (data.origin["ir"] == np.where(data.datasets == "others", "synthetic", "real")).all()


def test_a_run_draws_its_sketches_and_goes_on_exactly(weights, people, tiny_config, tmp_path, interrupted):
    options = (
        "data.tables.sketch=[online-lineart]",
        f"data.lineart={weights}",
        "train.precision=fp32",
        "train.save_every=2",
        "select.modes=[S->R]",
        "select.every=4",
    )
    config = tiny_config(*options)
    whole = train(config, tmp_path / "whole")
    assert read_log(whole, "val")  # on stored sketches
    with interrupted(3):
        train(config, tmp_path / "run")
    ours, theirs = (read_weights(checkpoints(run)[-1]) for run in (train(config, tmp_path / "run"), whole))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    stored = train(tiny_config(*options[2:]), tmp_path / "stored")
    assert read_log(stored, "train")[0]["losses"]["sdm/T->R"] == pytest.approx(
        read_log(whole, "train")[0]["losses"]["sdm/T->R"]
    )
    assert read_log(stored, "train")[0]["losses"]["sdm/S->R"] != read_log(whole, "train")[0]["losses"]["sdm/S->R"]


def test_weights_that_are_not_there_or_not_these(weights, tiny_config, tmp_path):
    config = tiny_config("data.tables.sketch=[online-lineart]", "select.split=none", f"data.lineart={tmp_path}")
    with pytest.raises(UserError, match=r"sk_model.pth, do not exist: download sk_model.pth of lllyasviel/Annotators"):
        train(config, tmp_path / "run")
    torch.save({"weight": torch.ones(2)}, tmp_path / "sk_model.pth")
    with pytest.raises(UserError, match="does not hold the Lineart network"):
        load_lineart(tmp_path)
    (tmp_path / "sk_model.pth").write_text("a page that says 404")
    with pytest.raises(UserError, match="does not hold the Lineart network"):
        load_lineart(tmp_path)
    assert not any(value.requires_grad for value in load_lineart(weights.parent).parameters())


def test_nothing_is_loaded_where_nothing_is_drawn(tiny_config, tmp_path):
    from accelerate import Accelerator

    config = tiny_config("data.tables.sketch=[sketch, online-lineart]", f"data.lineart={tmp_path}")
    dataset = training_data(config, assemble(config)[1])
    batch = collate([dataset.load(0)])
    assert torch.equal(
        finishing(config, dataset, Accelerator(cpu=True))(batch).images["sketch"], batch.images["sketch"]
    )


def test_the_preset_that_makes_modalities_in_training(weights, people, tiny_backbone, tmp_path):
    """AIO's stages: SYNTH-PEDES alone with made infrared and sketches, then three sets mixed with what they have."""
    manifests = [
        people(dataset_name="synth-pedes", sketchless=1, blank=1),  # photographs and captions
        people(dataset_name="llcm", sketchless=1, text=False),
        people(dataset_name="market-sketch-1k", blank=1, text=False),
    ]
    overrides = [
        *(f"backbone.name={tiny_backbone}", "backbone.image_size=null", f"data.lineart={weights}"),
        *("train={steps: 6, epochs: null, threads: 1, log_every: 1, precision: fp32}", "sampler.batch_size=8"),
        *("data.workers=0", "select.split=none"),
    ]
    config = load_config("aio-online", overrides, manifests=[str(path) for path in manifests])
    dataset = training_data(config, assemble(config)[1])
    assert dataset.describe()["ir"] == {"ir": 48, ONLINE_CA: 48}
    assert dataset.describe()["sketch"] == {"sketch": 48, ONLINE_LINEART: 48}
    first, second = training_stages(config, dataset)
    drawn = [collate([dataset[draw] for draw in batch]) for batch in first.sampler]
    assert all(bool(batch.present[name].all()) for batch in drawn for name in ("rgb", "ir", "sketch", "text"))
    assert all(None not in batch.undrawn for batch in drawn)
    drawn = [draw for batch in second.sampler for draw in batch]
    sets = [str(dataset.datasets[draw.rows["rgb"]]) for draw in drawn]
    assert all(abs(sets.count(name) / len(sets) - 1 / 3) < 0.05 for name in set(sets))
    for draw, name in zip(drawn, sets, strict=True):
        held = {modality for modality, row in draw.rows.items() if row >= 0}
        assert held == {"llcm": {"rgb", "ir"}, "market-sketch-1k": {"rgb", "sketch"}}.get(
            name, {"rgb", "ir", "sketch", "text"}
        )
    entries = read_log(train(config, tmp_path / "run"), "train")
    assert all({"ce", "va", "fb"} <= entry["losses"].keys() for entry in entries)
