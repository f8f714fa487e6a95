"""The data set: labels, presence, preference of tables, batches, and what goes wrong."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from reidtrain.data import DEFAULT_TABLES, ONLINE_CA, ReIDDataset, collate, decode, open_manifest
from reidtrain.errors import UserError
from reidtrain.lineage import source_images
from reidtrain.sampler import Draw, TupleSampler
from reidtrain.transforms import Augment, ImageTransform

TABLES = {**DEFAULT_TABLES, "sketch": ("sketch", "sketch-late")}


def tokenize(texts):
    return torch.tensor([[1, *(len(word) for word in text.split()), *[0] * 20][:12] for text in texts])


def open_data(path, split="train", *, augment=None, tables=None, **options):
    transform = ImageTransform((32, 16), (0.5,) * 3, (0.5,) * 3, augment)
    return ReIDDataset(path, split, tables=tables or TABLES, transform=transform, tokenize=tokenize, **options)


def test_columns_come_from_the_captures(people):
    data = open_data(people(), "test")
    assert len(data) == 48
    assert data.sample_ids[0] == "people/test/000200_0"
    assert data.pids[:5].tolist() == [200] * 4 + [201]
    assert data.camids[:4].tolist() == [1, 2, 1, 2]
    assert set(data.roles) == {"query+gallery"}
    assert data.labels.tolist() == np.repeat(np.arange(12), 4).tolist()
    assert data.image_ids.tolist() == list(range(48))
    assert data.caption_counts[:4].tolist() == [1, 2, 1, 2]
    assert data.captions(1) == ["a person in a red shirt and purple trousers", "red above, purple below"]
    assert all(data.present[modality].all() for modality in ("rgb", "ir", "sketch", "text"))


def test_two_manifests_share_no_label_and_no_image(people):
    first, second = people(), people(dataset_name="others", captures=3)
    data = open_data([first, second])
    assert len(data) == 48 + 36
    owners = [set(data.labels[data.datasets == name]) for name in ("people", "others")]
    assert not owners[0] & owners[1]
    assert sorted(owners[0] | owners[1]) == list(range(24))
    assert len(set(data.image_ids)) == len(data)
    assert data.pids[0] == data.pids[48]
    item = data.load(50, ["rgb"])
    assert torch.equal(item.images["rgb"], open_data(second).load(2, ["rgb"]).images["rgb"])


def test_real_tables_go_before_synthetic_ones(people):
    data = open_data(people(sketchless=2))
    assert data.origin["sketch"][:4].tolist() == ["synthetic", "real", "synthetic", "real"]
    assert data.describe()["sketch"] == {"sketch": 24, "sketch-late": 24}
    late = open_data(people(sketchless=2), tables={**TABLES, "sketch": ("sketch-late", "sketch")})
    assert set(late.origin["sketch"]) == {"synthetic"}
    only = open_data(people(sketchless=2), tables={**TABLES, "sketch": ("sketch",)})
    assert only.present["sketch"][:4].tolist() == [False, True, False, True]
    assert only.origin["sketch"][:2].tolist() == ["", "real"]


def test_failed_gates_count_as_absent_unless_accepted(people):
    path = people(blank=4)
    assert open_data(path).present["ir"][:4].tolist() == [False, True, True, True]
    accepted = open_data(path, accept_failed=True)
    assert accepted.present["ir"].all()
    assert accepted.load(0, ["ir"]).images["ir"].std() < 0.02


def test_images_are_what_the_manifest_holds(people):
    data = open_data(people())
    pixels = data.pixels(5, "rgb")
    assert pixels.shape == (40, 20, 3)
    stored = open_manifest(people()).table("rgb", "train")[5]["image"]["bytes"]
    np.testing.assert_array_equal(pixels, decode(stored))
    infrared = data.pixels(5, "ir")
    assert (infrared == infrared[:, :, :1]).all()
    assert data.load(5).images["sketch"].shape == (3, 32, 16)


def test_collate_marks_what_is_absent(people):
    data = open_data(people(blank=4, sketchless=2), tables={**TABLES, "sketch": ("sketch",)})
    batch = collate([data.load(row, ["rgb", "ir", "sketch", "text"]) for row in (0, 1, 2)])
    assert {m: mask.tolist() for m, mask in batch.present.items()} == {
        "rgb": [True] * 3,
        "ir": [False, True, True],
        "sketch": [False, True, False],
        "text": [True] * 3,
    }
    assert batch.images["ir"].shape == (3, 3, 32, 16)
    assert batch.images["ir"][0].abs().sum() == 0
    assert batch.tokens.shape == (3, 12)
    alone = collate([data.load(0, ["rgb", "sketch"])])
    assert set(alone.images) == {"rgb"}
    assert alone.tokens is None
    assert alone.present["sketch"].tolist() == [False]


def test_a_draw_joins_captures_of_one_identity(people):
    data = open_data(people())
    item = data[Draw({"rgb": 4, "ir": 5, "sketch": 6, "text": -1}, label=9, caption=0, epoch=0)]
    assert item.label == 9
    assert item.image_id == 4
    assert torch.equal(item.images["ir"], data.load(5, ["ir"]).images["ir"])
    assert item.present == {"rgb": True, "ir": True, "sketch": True, "text": False}
    assert item.tokens.tolist() == [0] * 12


@pytest.mark.parametrize("cache", [False, True])
def test_augmentation_depends_on_epoch_and_sample_alone(people, cache):
    recipe = {name: Augment(pad=3) for name in ("rgb", "ir", "sketch")}
    first, second = (open_data(people(), augment=recipe, cache=cache, seed=4) for _ in range(2))
    draws = [Draw(dict.fromkeys(("rgb", "ir", "sketch"), row), 0, 0, epoch) for epoch in (0, 1) for row in range(6)]
    ahead = [first[draw] for draw in draws]
    back = [second[draw] for draw in reversed(draws)][::-1]
    for one, other in zip(ahead, back, strict=True):
        assert all(torch.equal(one.images[name], other.images[name]) for name in one.images)
    changed = [not torch.equal(a.images["rgb"], b.images["rgb"]) for a, b in zip(ahead[:6], ahead[6:], strict=True)]
    assert sum(changed) >= 4
    assert torch.equal(first.load(0).images["rgb"], open_data(people()).load(0).images["rgb"])


def test_infrared_can_be_made_while_loading(people):
    recipe = {"ir": Augment(flip=0, pad=0, erase=0)}
    data = open_data(people(), augment=recipe, tables={**TABLES, "ir": (ONLINE_CA,)})
    assert data.describe()["ir"] == {ONLINE_CA: 48}
    assert set(data.origin["ir"]) == {"synthetic"}
    photo = data.load(3, ["rgb"]).images["rgb"]
    drawn = set()
    for epoch in range(40):
        infrared = data[Draw({"ir": 3}, 0, 0, epoch)].images["ir"]
        drawn |= {channel for channel in range(3) if torch.equal(infrared, photo[channel].expand(3, -1, -1))}
    assert drawn == {0, 1, 2}
    assert torch.equal(data.load(3, ["ir"]).images["ir"], data.load(3, ["ir"]).images["ir"])
    mixed = open_data(people(blank=2), tables={**TABLES, "ir": ("ir", ONLINE_CA)})
    assert mixed.describe()["ir"] == {"ir": 24, ONLINE_CA: 24}


def test_workers_load_the_same(people):
    recipe = {"rgb": Augment(pad=3)}
    batches = []
    for workers in (0, 2):
        data = open_data(people(), augment=recipe, cache=bool(workers))
        sampler = TupleSampler(data.index(), batch_size=6)
        batches.append(list(DataLoader(data, batch_sampler=sampler, collate_fn=collate, num_workers=workers)))
    for one, other in zip(*batches, strict=True):
        assert all(torch.equal(one.images[name], other.images[name]) for name in one.images)
        assert torch.equal(one.tokens, other.tokens)


def test_it_can_be_sent_to_another_process(people):
    data = open_data(people())
    data.load(0)
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy.load(7).images["rgb"], data.load(7).images["rgb"])


def testsource_images_follow_chains_to_their_start():
    assert source_images(["a", "b", "c", "d"], [None, "a", "b", "elsewhere"]).tolist() == [0, 0, 0, 1]
    assert source_images(["a", "b"], ["b", "a"]).tolist() == [0, 1]  # a loop must not hang


def test_the_checksum_is_of_the_tables_in_use(people):
    path = people()
    both, plain = open_data(path), open_data(path, tables={"rgb": ("rgb",)})
    assert both.checksum == open_data(path).checksum
    assert both.checksum != plain.checksum
    assert plain.checksum != open_data(path, "test", tables={"rgb": ("rgb",)}).checksum


def test_a_missing_modality_is_named_with_the_tables_there(people):
    with pytest.raises(UserError, match=r"lacks the modality text: no table 'text' .*'text-template' among") as caught:
        open_data(people(text=False))
    assert "ir, rgb, sketch, sketch-late" in str(caught.value)
    with pytest.raises(UserError, match=r"name one of its sketch tables \(sketch, sketch-late\)"):
        open_data(people(), tables={"rgb": ("rgb",), "sketch": ("sketch-lineart",)})


def test_other_mistakes_are_one_sentence(people, tmp_path):
    with pytest.raises(UserError, match="is no manifest"):
        open_data(tmp_path / "nothing")
    with pytest.raises(UserError, match="has no split 'dev': it has train, val, test"):
        open_data(people(), "dev")
    with pytest.raises(UserError, match="table 'ir' holds ir, but is configured as sketch"):
        open_data(people(), tables={"sketch": ("ir",)})
    with pytest.raises(UserError, match=r"both hold people/train/\d+_\d in split 'train'.*under another dataset name"):
        open_data([people(), people(text=False)], "train", tables={"rgb": ("rgb",)})
    data = open_data(people(), tables={"rgb": ("rgb",)})
    with pytest.raises(UserError, match="modality 'ir' was asked for, but only rgb are configured"):
        data.load(0, ["rgb", "ir"])


def test_another_schema_version_and_damage_are_told(people, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(people(), copy)
    shard = next((copy / "rgb").glob("train-*.parquet"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 255
    shard.write_bytes(bytes(content))
    data = open_data(copy)
    with pytest.raises(UserError, match=r"damaged|decoded"):
        collate([data.load(row, ["rgb"]) for row in range(len(data))])
    description = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**description, "schema_version": 99}))
    with pytest.raises(UserError, match="schema version 99"):
        open_data(copy)
