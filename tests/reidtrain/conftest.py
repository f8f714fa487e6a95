"""Fixtures of the training tests: drawn people, and an encoder of a few thousand parameters."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "reidsynth"))  # the layouts of data sets that it draws

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": [32, 16], "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
FAST = (
    "model.options.local_tokens=2",
    "model.options.experts=2",
    "model.options.adapter_width=4",
    "model.options.fusion_heads=2",
    "sampler.batch_size=8",
    "train.threads=1",
    "train.log_every=1",
)


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """A function that builds a manifest of drawn people, each variant once."""
    from reidsynth.engines import LocalEngine
    from reidsynth.ingest import ingest
    from reidsynth.jobs import Run
    from reidsynth.sources import SOURCES

    folder, made = tmp_path_factory.mktemp("people"), {}

    def build(**options):
        key = repr(sorted(options.items()))
        if key not in made:
            with pytest.MonkeyPatch.context() as patch:  # for others, the source isn't there
                patch.setitem(SOURCES, "people", "drawn_people:People")
                run = Run(LocalEngine(1), progress=False)
                made[key] = ingest(folder / f"m{len(made)}", "people", options, run=run).path
        return made[key]

    return build


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory):
    """Folder of a backbone with random weights that reads 32x16 images."""
    from reidtrain.backbone_files import Description, build_clip, save_backbone
    from reidtrain.tokenizer import clip_ids

    folder = tmp_path_factory.mktemp("backbone")
    words = "a person in shirt and trousers, above below. red green blue white black yellow purple brown"
    description = Description(model=TINY, vocabulary=clip_ids([words]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_backbone(build_clip(description)[0], description, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_config(people, tiny_backbone):
    """A function that makes a configuration of a few steps on the drawn people."""
    from reidtrain.config import load_config

    def make(*overrides, manifests=None):
        return load_config(
            "flexireid-demo",
            [*FAST, f"backbone.name={tiny_backbone}", "train.steps=4", "select.every=100", *overrides],
            manifests=[str(path) for path in (manifests or [people()])],
        )

    return make


@pytest.fixture
def interrupted():
    """A context in which training is broken off before its step of a number, counted from 0."""
    from reidtrain import train as loop

    @contextmanager
    def before(number):
        seeded = loop._seed

        def interrupt(seed, step, process):
            if step == number:
                raise KeyboardInterrupt
            seeded(seed, step, process)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "_seed", interrupt)
            with pytest.raises(KeyboardInterrupt):
                yield

    return before
