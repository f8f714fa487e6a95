"""The recipes in `manifests/`: each loads without a mistake; those without weights build on drawn trees."""

from __future__ import annotations

from pathlib import Path

import captioned_fixtures
import fixtures
import layouts
import pytest
import sketch_fixtures
import synthetic_fixtures
import yaml
from tiny_weights import generator
from typer.testing import CliRunner

from reidsynth.cli import app
from reidsynth.errors import UserError
from reidsynth.manifest import open_manifest
from reidsynth.plan import plan
from reidsynth.recipe import build, load_recipe, unmet
from reidsynth.validate import validate

FOLDER = Path(__file__).parents[2] / "manifests"
TREES = {
    "cuhk-pedes": fixtures.cuhk_pedes,
    "finegpr": synthetic_fixtures.finegpr,
    "icfg-pedes": captioned_fixtures.icfg_pedes,
    "llcm": layouts.llcm,
    "market-sketch-1k": sketch_fixtures.market_sketch_1k,
    "market1501": fixtures.market1501,
    "rstpreid": captioned_fixtures.rstpreid,
    "synth-pedes": synthetic_fixtures.synth_pedes,
    "sysu-mm01": layouts.sysu_mm01,
}
SHIPPED = sorted(FOLDER.glob("*.yaml"))
WANTED = {
    *(f"{kind}-{base}" for kind in ("tri", "cirs") for base in ("cuhk-pedes", "icfg-pedes", "rstpreid")),
    *("cirs-sysu-mm01", "aio-train", "dmf-finegpr", "demo"),
}


def sources_of(path):
    values = yaml.safe_load(path.read_text())
    entries = [part["source"] for part in values["parts"]] if "parts" in values else [values["source"]]
    return [entry["name"] for entry in entries if entry["name"] != "demo"]


GENERATED = [path for path in SHIPPED if "method: gan" in path.read_text()]


def loaded(path, folder, overrides=()):
    if path in GENERATED:
        overrides = [*overrides, f"build-ir.model={generator(folder / 'generator')}"]
    roots = {name: TREES[name](folder / name) for name in sources_of(path)}
    return load_recipe(path, root=roots, overrides=overrides)


def test_every_recipe_that_the_papers_need_is_there():
    assert {path.stem for path in SHIPPED} >= WANTED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_recipe_loads_without_a_mistake(path, tmp_path):
    recipe = loaded(path, tmp_path)
    assert recipe.name == path.stem
    assert recipe.about.endswith(".")
    assert recipe.expect or all(part.expect for part in recipe.parts)


def test_aio_train_is_three_data_sets_of_different_modalities(run, tmp_path):
    recipe = loaded(FOLDER / "aio-train.yaml", tmp_path / "trees")
    manifest = build(recipe, tmp_path / "aio", run=run)
    assert [source.dataset for source in manifest.info.sources] == ["synth-pedes", "llcm", "market-sketch-1k"]
    assert manifest.splits == ("train",)
    captures = manifest.captures("train").to_pylist()
    modalities = {(row["dataset"], row["modality"]) for row in captures}
    assert {("synth-pedes", "rgb"), ("llcm", "rgb"), ("llcm", "ir"), ("market-sketch-1k", "sketch")} <= modalities
    assert all(row["split"] == "train" for row in captures)
    assert {"rgb", "ir", "sketch", "text-spac"} <= set(manifest.tables)
    spac = manifest.table("text-spac", "train")
    told = {captures[i]["dataset"] for i in range(len(spac)) if spac[i]["verdict"] == "pass"}
    assert told == {"synth-pedes"}
    assert validate(tmp_path / "aio") == []
    linked = manifest.tables["text-spac"].shards[-1].file  # synth-pedes comes last
    assert (tmp_path / "aio" / linked).stat().st_nlink > 1
    found = unmet(recipe, manifest)
    assert any("synth-pedes: split 'train' holds" in line and "4791711 are expected" in line for line in found)
    sketched = "market-sketch-1k: all splits hold 3 people in 'sketch', and 996 are expected"
    assert sketched in found  # photographs show more people, and distractors
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "aio").glob("*/*.parquet")}
    build(recipe, tmp_path / "aio", run=run)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "aio").glob("*/*.parquet")} == before


def test_dmf_finegpr_takes_eleven_images_of_each_person_and_the_sentences(run, tmp_path):
    root = synthetic_fixtures.finegpr(tmp_path / "trees")
    for light in range(1, 8):
        for weather in range(1, 3):
            fixtures.write_image(root / f"0001/0001_c02_w{weather:02d}_l{light:02d}_p01.jpg", seed=light)
    (root / "told.json").write_text('{"0001_c01_w01_l01_p01": "A man in a red shirt and black trousers."}')
    recipe = load_recipe(FOLDER / "dmf-finegpr.yaml", root=root, overrides=["captions=told.json"])
    manifest = build(recipe, tmp_path / "dmf", run=run)
    pids = manifest.captures("train").column("pid").to_pylist()
    assert (pids.count(1), pids.count(2)) == (11, 2)
    assert "text" in manifest.tables
    assert unmet(recipe, manifest) == [
        "split 'train' holds 13 captures, and 12650 are expected",
        "split 'train' holds 2 identities, and 1150 are expected",
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tri-cuhk-pedes", ["all splits hold 19 captions of 'text', and 80440 are expected"]),
        ("cirs-rstpreid", ["split 'val' holds 5 captures, and 1000 are expected", "0 rows of 'ir-gan', and 20505"]),
        ("cirs-sysu-mm01", ["10 rows of 'rgb', and 20284", "split 'val' holds 1 identities, and 99 are expected"]),
    ],
)
def test_expectations_are_compared_with_what_is_there(name, told, run, tmp_path):
    recipe = loaded(FOLDER / f"{name}.yaml", tmp_path / "trees").model_copy(update={"steps": ()})
    found = unmet(recipe, build(recipe, tmp_path / "m", run=run))
    for sentence in told:
        assert any(sentence in line for line in found), found


def test_a_recipe_with_a_generator_says_which_one_is_missing(tmp_path):
    assert {path.stem for path in GENERATED} == {"cirs-cuhk-pedes", "cirs-icfg-pedes", "cirs-rstpreid"}
    tree = fixtures.cuhk_pedes(tmp_path / "tree")
    with pytest.raises(
        UserError, match=r"'model' is missing .* give what is missing as --set build-ir.PARAMETER=VALUE"
    ):
        load_recipe(FOLDER / "cirs-cuhk-pedes.yaml", root=tree)
    sketches = generator(tmp_path / "sketches", "sketch")
    with pytest.raises(UserError, match="makes sketch, not ir"):
        load_recipe(FOLDER / "cirs-cuhk-pedes.yaml", root=tree, overrides=[f"build-ir.model={sketches}"])


def test_every_missing_model_is_told_before_the_first_row(tmp_path, run, monkeypatch):
    """As it is without a network: both models of the recipe, and how its command takes them."""
    monkeypatch.setattr("reidsynth.steps.rembg_models.find", lacking("pass its path as --set file=PATH"))
    recipe = loaded(FOLDER / "tri-rstpreid.yaml", tmp_path / "trees", ["build-sketch.model=nowhere"])
    for use in (lambda: build(recipe, tmp_path / "m", run=run), lambda: plan(recipe, workers=1)):
        with pytest.raises(UserError) as caught:
            use()
        told = str(caught.value).splitlines()
        assert told[0] == "recipe tri-rstpreid needs 2 models that are not here:"
        assert "--set remove-background.file=PATH" in told[1]
        assert "build-sketch --method lineart needs" in told[2]
        assert "model='nowhere' is no file or folder here" in told[2]
    assert not (tmp_path / "m").exists()


def lacking(told):
    def refuse(*_, **__):
        raise UserError(told)

    return refuse


def test_cirs_builds_with_a_generator_and_keeps_its_expectations(tmp_path):
    values = yaml.safe_load((FOLDER / "cirs-rstpreid.yaml").read_text())
    values["steps"] = [step for step in values["steps"] if step["method"] == "gan"]  # the others' weights are large
    (tmp_path / "cirs.yaml").write_text(yaml.safe_dump(values))
    tree = captioned_fixtures.rstpreid(tmp_path / "tree")
    weights = generator(tmp_path / "lwir", spectrum="lwir")
    command = [
        "build",
        str(tmp_path / "cirs.yaml"),
        "--root",
        str(tree),
        "--out",
        str(tmp_path / "m"),
        "--workers",
        "1",
    ]
    result = CliRunner().invoke(app, [*command, "--set", f"build-ir.model={weights}"])
    assert result.exit_code == 1, result.output
    assert "and 20505 are expected" in result.stderr  # the step's weights do not change how many there should be
    manifest = open_manifest(tmp_path / "m")
    table = manifest.tables["ir-gan"]
    assert (table.spectrum, table.step.terms["licence"]) == ("lwir", "CC-BY-NC-4.0")
    card = (tmp_path / "m/README.md").read_text()
    assert "StyleGAN3 sketches are not reproducible" in card
    assert "made by weights trained on data under: CC-BY-NC-4.0" in card
    assert str(tmp_path) not in card


def test_the_command_takes_a_folder_for_each_source(tmp_path):
    trees = {name: TREES[name](tmp_path / name) for name in sources_of(FOLDER / "aio-train.yaml")}
    roots = [option for name, root in trees.items() for option in ("--root", f"{name}={root}")]
    command = ["build", str(FOLDER / "aio-train.yaml"), "--out", str(tmp_path / "aio"), "--workers", "1"]
    result = CliRunner().invoke(app, [*command, *roots, "--max-failed", "1"])
    assert result.exit_code == 1, result.output  # nobody's fixture holds 4,791,711 images
    assert "llcm: all splits hold" in result.stderr
    assert open_manifest(tmp_path / "aio").info.name == "aio-train"
    wrong = CliRunner().invoke(app, [*command, "--root", str(tmp_path)])
    assert wrong.exit_code == 2
    assert "write SOURCE=" in wrong.stderr
    assert "parts.1.source: source 'llcm': parameter 'root' is missing" in wrong.stderr
    other = CliRunner().invoke(app, [*command, *roots, "--root", f"market1501={tmp_path}"])
    assert "the recipe has no such source" in other.stderr


def test_mistakes_of_parts_are_named_with_their_place(tmp_path):
    path = tmp_path / "r.yaml"
    values = {"recipe": 1, "name": "r", "parts": [{"source": {"name": "demo", "seed": "x"}, "split": ["train"]}]}
    path.write_text(yaml.safe_dump(values | {"source": {"name": "demo"}}))
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    assert "parts.0.split: there is no such key" in str(caught.value)
    assert "parts.0.source: source 'demo': parameter 'seed'" in str(caught.value)
    parts = [{"source": {"name": "demo", "val": 0}, "splits": ["train", "val", "text"]}]
    path.write_text(yaml.safe_dump({"recipe": 1, "name": "r", "parts": parts}))
    with pytest.raises(UserError, match=r"parts.0.splits: demo has no val, text \(it has train, test\)"):
        load_recipe(path)
    path.write_text(yaml.safe_dump({"recipe": 1, "name": "r"}))
    with pytest.raises(UserError, match="either `source` or `parts` says where captures come from"):
        load_recipe(path)
