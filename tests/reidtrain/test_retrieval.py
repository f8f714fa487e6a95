"""Search with files and sentences in a tiny run."""

import numpy as np
import pytest
import torch
from PIL import Image

from reidtrain.checkpoint import load_run
from reidtrain.errors import UserError
from reidtrain.evaluate import evaluation_data
from reidtrain.features import Features
from reidtrain.metrics import cosine
from reidtrain.retrieval import GalleryIndex, Query, search
from reidtrain.train import train


@pytest.fixture(scope="module")
def run(tiny_config, tmp_path_factory):
    return train(tiny_config("train.steps=1"), tmp_path_factory.mktemp("search") / "run")


@pytest.fixture(scope="module")
def files(people, run, tmp_path_factory):
    """The sketch, infrared and photograph of row 5, as a user would have them."""
    folder = tmp_path_factory.mktemp("query")
    dataset = evaluation_data(load_run(run), people(), "test")
    for name in ("sketch", "ir", "rgb"):
        Image.fromarray(dataset.pixels(5, name)).save(folder / f"{name}.png")
    return folder


def quiet(_):
    pass


def test_a_photograph_of_the_gallery_finds_itself(run, people, files):
    hits = search(run, people(), rgb=files / "rgb.png", top=3, note=quiet)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].score == pytest.approx(1, abs=1e-6)
    assert hits[0].score >= hits[1].score >= hits[2].score
    best = hits[0]
    assert (best.sample_id, best.pid, best.camid) == ("people/test/000201_1", 201, 2)
    assert best.image.shape == (40, 20, 3)
    assert set(best.as_dict()) == {"rank", "score", "sample_id", "pid", "camid"}


def test_any_mix_gives_the_scores_of_the_evaluation(run, people, files):
    loaded = load_run(run)
    dataset = evaluation_data(loaded, people(), "test")
    text, mode = dataset.captions(5)[0], ("text", "sketch", "ir")
    hits = search(run, people(), text=text, sketch=files / "sketch.png", ir=str(files / "ir.png"), top=100)
    assert len(hits) == 48
    features = Features(loaded.model, dataset)
    features.compute_units({(row, -1): {("rgb",)} for row in range(48)} | {(5, 0): {mode}})
    expected = cosine(features.of(mode, np.array([5]), np.array([0])), features.of(("rgb",), np.arange(48)))[0]
    found = {hit.sample_id: hit.score for hit in hits}
    assert [found[str(sample)] for sample in dataset.sample_ids] == pytest.approx(expected.tolist(), abs=1e-5)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_the_index_is_kept_and_found_again(run, people, files, monkeypatch):
    for file in (run / "index").glob("*"):
        file.unlink()
    first = search(run, people(), sketch=files / "sketch.png")
    assert len(list((run / "index").glob("*.safetensors"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr(Features, "compute_units", lambda *_: pytest.fail("features were computed again"))
        assert search(run, people(), sketch=files / "sketch.png") == first
    kept = next((run / "index").glob("*.safetensors"))
    kept.write_bytes(kept.read_bytes()[:100])
    assert search(run, people(), sketch=files / "sketch.png") == first, "a damaged index is made again"
    search(run, people(captures=3), sketch=files / "sketch.png")
    assert len(list((run / "index").glob("*.safetensors"))) == 2, "other data, other index"


def test_unknown_words_are_told(run, people):
    told = []
    search(run, people(), text="a person in a chartreuse shirt, chartreuse trousers", note=told.append)
    assert told == ["words that this encoder does not know were left out: chartreuse"]
    with pytest.raises(UserError, match="none of the words of 'zebra zeppelin' is known"):
        search(run, people(), text="zebra zeppelin")
    with pytest.warns(UserWarning, match="chartreuse"):
        search(run, people(), text="chartreuse shirt")


def test_equal_scores_come_in_the_order_of_the_manifest(run, people):
    index = GalleryIndex.open(load_run(run), people())
    same = GalleryIndex(index.loaded, index.dataset, index.rows, torch.ones_like(index.features))
    hits = same.search(Query(text="red"), top=4)
    assert [hit.sample_id for hit in hits] == index.dataset.sample_ids[:4].tolist()


def test_wrong_queries_are_refused_with_a_sentence(run, people, files, tmp_path):
    with pytest.raises(UserError, match="the query is empty"):
        search(run, people())
    with pytest.raises(UserError, match="text is empty"):
        search(run, people(), text="  ")
    with pytest.raises(UserError, match=r"sketch image .*none.png can't be read \(No such file"):
        search(run, people(), sketch=tmp_path / "none.png")
    with pytest.raises(UserError, match=r"ir image .* can't be read \(Is a directory\)"):
        search(run, people(), ir=tmp_path)
    (tmp_path / "page.png").write_text("no image")
    with pytest.raises(UserError, match=r"rgb image .*page.png can't be decoded \(8 bytes\)"):
        search(run, people(), rgb=tmp_path / "page.png")
    with pytest.raises(UserError, match="top is 0"):
        search(run, people(), text="red", top=0)
    with pytest.raises(UserError, match=r"cannot encode text\+rgb"):
        search(run, people(), text="red", rgb=files / "rgb.png")
    with pytest.raises(UserError, match="no split 'dev'"):
        search(run, people(), text="red", split="dev")
