"""Captions by a home-made vision-language model through transformers' own loaders."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from caption_server import answer_for

from reidsynth.errors import UserError
from reidsynth.gates import judge
from reidsynth.pipeline import run_step
from reidsynth.schema import Sample
from reidsynth.steps import build_step

RED, BLUE = (200, 30, 30), (30, 30, 200)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder of a model by form and chat template, made once."""
    made = {}

    def model(form="json", steps=150, chat=True):
        from tiny_vlm import save

        if (form, steps, chat) not in made:
            folder = tmp_path_factory.mktemp("vlm") / "tiny"
            made[form, steps, chat] = str(save(folder, form, steps, chat))
        return made[form, steps, chat]

    return model


def photo(colour, number=0, modality="rgb"):
    pixels = np.full((64, 32, 3), colour, np.uint8)
    return Sample(f"p{number}", {"modality": modality}, {"rgb": pixels})


def test_a_model_answers_in_the_one_form(models):
    step = build_step("caption", "transformers", {"model": models()})
    made = step.process([photo(RED), photo(BLUE, 1), photo(RED, 2)])
    told = [answer_for(name) for name in (b"red", b"blue", b"red")]
    assert [one.text.captions for one in made] == [tuple(answer["captions"].values()) for answer in told]
    assert made[0].text.attributes["upper_colour"] == told[0]["regions"]["upper"]["upper_colour"]
    assert made[0].text.model == "tiny"
    assert judge("text", made[1].text).verdict == "pass"
    assert step.process([photo(BLUE)])[0] == made[1]
    assert {"model.safetensors", "config.json", "chat_template.jinja", "prompt"} <= set(step.weights())
    assert json.loads(json.dumps(step.parameters()))["model"] == "tiny"


def test_infrared_images_are_never_described(models):
    made = build_step("caption", "transformers", {"model": models()}).process([photo(RED, modality="ir")])[0]
    assert made.absent == "captions are never made from infrared images"
    with pytest.raises(UserError, match="captions are made from photographs in colour only"):
        build_step("caption", "transformers", {"model": models()}).inputs(("ir", "text"))


@pytest.mark.slow
@pytest.mark.parametrize("chat", [True, False])
def test_models_that_write_sentences_only(models, chat):
    from tiny_vlm import PLAIN

    parameters = {"model": models("plain", chat=chat), "answer": "plain", "styles": ["concise"]}
    made = build_step("caption", "transformers", parameters).process([photo(RED), photo(BLUE)])
    assert [one.text.captions[0] for one in made] == list(PLAIN.values())
    assert made[0].text.attributes is None


@pytest.mark.slow
def test_a_model_that_says_anything_leaves_reasons(models):
    parameters = {"model": models(steps=0), "max_new_tokens": 8}
    made = build_step("caption", "transformers", parameters).process([photo(RED)])[0]
    assert made.error.startswith("no usable answer: it ")


@pytest.mark.slow
def test_through_the_pipeline_and_resumed(models, ingested, tmp_path, run, noise):
    shutil.copytree(ingested, tmp_path / "m")
    parameters = {"model": models(), "variant": "tiny"}
    made = run_step(tmp_path / "m", "caption", "transformers", parameters, run=run)
    assert made.tables["text-tiny"].counts["train"]["absent"] == 1  # the photograph that can't be read
    assert "written by the model named, on the machine of whoever built this" in (made.path / "README.md").read_text()
    assert str(tmp_path) not in (made.path / "manifest.json").read_text()
    assert run_step(tmp_path / "m", "caption", "transformers", parameters, run=run).checksum == made.checksum


def test_what_is_no_such_model_is_one_sentence(tmp_path, models):
    with pytest.raises(UserError, match="needs a folder saved by transformers"):
        build_step("caption", "transformers", {"model": str(tmp_path)}).weights()
    with pytest.raises(UserError, match="is no file or folder here and no hub name"):
        build_step("caption", "transformers", {"model": "nowhere"}).weights()
    shutil.copytree(models(), tmp_path / "damaged")
    (tmp_path / "damaged/model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="can't be opened as an image-text-to-text model"):
        build_step("caption", "transformers", {"model": str(tmp_path / "damaged")}).process([photo(RED)])
