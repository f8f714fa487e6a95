"""Recipes: checked as a whole before the first row, written back into the manifest."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from reidsynth.errors import UserError
from reidsynth.recipe import about_sources, build, load_recipe, unmet

GOOD = {
    "recipe": 1,
    "name": "trial",
    "about": "Noise.",
    "source": {"name": "noise", "rows": 12},
    "steps": [
        {"step": "build-ir", "method": "inverse", "offset": 3},
        {"step": "build-sketch", "method": "outline"},
    ],
    "expect": {"train": {"captures": 12, "identities": 6}},
}


@pytest.fixture
def write(noise, tmp_path):
    def written(**changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(GOOD | changes))
        return path

    return written


def test_build_makes_every_table_and_keeps_the_recipe(write, run, tmp_path):
    recipe = load_recipe(write(), overrides=["seed=5"])
    manifest = build(recipe, tmp_path / "m", run=run)
    assert set(manifest.tables) == {"rgb", "mask", "text", "ir-inverse", "sketch-outline"}
    assert manifest.info.name == "trial"
    assert manifest.info.recipe["source"] == {"name": "noise", "rows": 12, "seed": 5}
    assert manifest.info.source.parameters["seed"] == 5
    assert unmet(recipe, manifest) == []
    expecting = load_recipe(write(expect={"train": {"captures": 13}, "val": {"identities": 2}}))
    assert unmet(expecting, manifest) == [
        "split 'train' holds 12 captures, and 13 are expected",
        "split 'val' holds 0 identities, and 2 are expected",
    ]


def test_parameters_of_a_step_are_set_by_its_name(write):
    recipe = load_recipe(write(), overrides=["build-ir.offset=9", "rows=8"])
    assert recipe.steps[0].parameters == {"offset": 9}
    assert recipe.source.parameters["rows"] == 8
    assert not about_sources(recipe, ["build-ir.offset=9"])
    assert about_sources(recipe, ["build-ir.offset=9", "rows=8"])
    twice = [{"step": "build-ir", "method": "inverse"}, {"step": "build-ir", "method": "channel-augmentation"}]
    chosen = load_recipe(write(steps=twice), overrides=["build-ir.channel-augmentation.gray=true"])
    assert [step.parameters for step in chosen.steps] == [{}, {"gray": True}]
    told = r"write build-ir.METHOD.gray \(methods of build-ir here: inverse, channel-augmentation\)"
    with pytest.raises(UserError, match=told):
        load_recipe(write(steps=twice), overrides=["build-ir.gray=true"])
    with pytest.raises(UserError, match=r"unknown parameter 'build-irr\.gray'"):
        load_recipe(write(), overrides=["build-irr.gray=true"])


def test_another_method_does_without_the_parameters_of_the_recipes_own(write):
    path = write(steps=[{"step": "build-ir", "method": "inverse", "offset": 3, "gates": {"ir_range": 1}}])
    recipe = load_recipe(path, overrides=["build-ir.gray=true", "build-ir.method=channel-augmentation"])
    assert recipe.steps[0].method == "channel-augmentation"
    assert recipe.steps[0].parameters == {"gray": True, "gates": {"ir_range": 1}}
    assert load_recipe(path, overrides=["build-ir.method=inverse"]).steps[0].parameters["offset"] == 3


def test_what_is_expected_of_a_table_is_expected_of_the_one_in_its_place(write):
    steps = [{"step": "build-ir", "method": "inverse"}, {"step": "build-ir", "method": "gan"}]
    expect = {"train": {"captures": 20, "rows": {"rgb": 19, "ir-inverse": 17, "ir-gan": 16}}}
    path = write(steps=steps[:1], expect=expect)
    assert load_recipe(path, overrides=["build-ir.offset=9"]).expect["train"].rows == expect["train"]["rows"]
    recipe = load_recipe(path, overrides=["build-ir.method=channel-augmentation"])
    assert recipe.expect["train"].rows == {"rgb": 19, "ir-ca": 17, "ir-gan": 16}
    path = write(steps=steps, expect=expect)  # the generator's place is not in the recipe
    recipe = load_recipe(path, overrides=["build-ir.gan.method=channel-augmentation"])
    assert recipe.expect["train"].rows == {"rgb": 19, "ir-inverse": 17, "ir-ca": 16}
    assert recipe.expect["train"].captures == 20


def test_three_mistakes_are_named_at_once(write):
    path = write(
        source={"name": "noise", "rows": "many"},
        steps=[{"step": "build-ir", "method": "invers"}, {"step": "build-sketch", "method": "outline", "width": 3}],
        colour="red",
    )
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert "has 4 mistakes" in message
    assert "colour: there is no such key" in message
    assert "source: source 'noise': parameter 'rows'" in message
    assert "received 'many'" in message
    assert "steps.0: unknown method of step 'build-ir': 'invers' (did you mean 'inverse'?)" in message
    assert "steps.1: step 'build-sketch', method 'outline': unknown parameter 'width'" in message


def test_two_steps_of_one_table_are_found_before_the_first_row(write):
    same = {"step": "build-ir", "method": "inverse"}
    with pytest.raises(UserError, match=r"steps\.1: 'ir-inverse' is made by steps\.0 already"):
        load_recipe(write(steps=[same, same]))


def test_a_service_without_a_model_is_found_before_the_first_row(write):
    with pytest.raises(UserError, match=r"steps\.0: step 'caption', method 'openai': parameter 'model' is missing"):
        load_recipe(write(steps=[{"step": "caption", "method": "openai"}]))


@pytest.mark.parametrize("method", [{"method": "openai", "model": "m"}, {"method": "template"}])
def test_a_style_that_is_named_twice_is_found_before_the_first_row(write, method):
    twice = {"step": "caption", **method, "styles": ["concise", "concise"]}
    with pytest.raises(UserError, match="parameter 'styles': names a style twice: name each once"):
        load_recipe(write(steps=[twice]))


def test_a_step_before_its_input_is_found_before_the_first_row(write):
    path = write(steps=[{"step": "build-sketch", "method": "outline"}, {"step": "build-ir", "method": "inverse"}])
    with pytest.raises(UserError, match=r"steps\.0: .*needs table 'ir-inverse'"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "is no valid YAML"), ("- 1", "holds no keys"), ("recipe: 2\nname: x\nsource: {name: noise}", "recipe:")],
)
def test_files_that_are_no_recipe(noise, tmp_path, text, said):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        load_recipe(path)


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml does not exist"):
        load_recipe(tmp_path / "nowhere.yaml")


def test_settings_need_an_equals_sign(write):
    with pytest.raises(UserError, match="--set 'rows' is not valid"):
        load_recipe(write(), overrides=["rows"])


def test_recipes_that_come_with_the_package_have_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()  # a folder of that name is no recipe
    assert load_recipe(Path("demo")).name == "demo"
    with pytest.raises(UserError, match=r"recipe dem does not exist.*comes with the package \(aio-train, .*demo, "):
        load_recipe(Path("dem"))


def test_thresholds_stand_in_the_recipe(write, run, tmp_path):
    source = {"name": "noise", "rows": 12, "gates": {"rgb_std": 1.5}}
    steps = [{"step": "build-ir", "method": "inverse", "gates": {"ir_range": 300, "ir_std": None}}]
    manifest = build(load_recipe(write(source=source, steps=steps)), tmp_path / "m", run=run)
    assert manifest.info.source.gates == {"rgb_std": 1.5}
    assert manifest.tables["ir-inverse"].step.gates == {"ir_range": 300, "ir_std": None}
    assert manifest.tables["ir-inverse"].reasons["blank infrared image"] == 22
    assert manifest.info.recipe["steps"][0]["gates"] == {"ir_range": 300, "ir_std": None}
    card = (tmp_path / "m" / "README.md").read_text()
    assert "gates other than the default: ir_range 300, ir_std never" in card
    assert "Gates other than the default: rgb_std 1.5." in card
    wrong = [{"step": "build-ir", "method": "inverse", "gates": {"ir_rang": 1, "ir_std": "a"}}]
    with pytest.raises(UserError) as caught:
        load_recipe(write(source=source | {"gates": [1]}, steps=wrong))
    assert "steps.0: gates: 'ir_rang' is no threshold of ir; ir_std must be a number" in str(caught.value)
    assert "source: gates must be a mapping of thresholds to numbers, received [1]" in str(caught.value)
