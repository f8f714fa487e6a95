"""Configuration: presets, inheritance, overrides, and every mistake in one message."""

from __future__ import annotations

import subprocess
import sys

import pytest

from reidtrain.config import differences, load_config, parse_config, presets
from reidtrain.errors import UserError


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_is_valid_and_says_what_it_is(name):
    config = load_config(name)
    assert config.about
    assert config.preset == name
    assert parse_config(config.dump(), "dump") == config


def test_the_paper_preset_holds_the_papers_settings():
    config = load_config("flexireid")
    assert config.backbone.image_size == (384, 128)
    assert (config.optim.name, config.optim.lr, config.optim.schedule) == ("adam", 1e-5, "cosine")
    assert (config.train.epochs, config.sampler.batch_size, config.backbone.frozen) == (60, 64, True)


def test_overrides_are_yaml_and_reach_one_field():
    base = load_config("flexireid-demo")
    config = load_config(
        "flexireid-demo",
        ["optim.lr=3e-4", "data.tables.ir=[ir-ca]", "data.tables.sketch=null", "model.options.experts=3"],
        manifests=["m"],
    )
    assert config.optim.lr == 3e-4
    assert config.data.tables.named()["ir"] == ("ir-ca",)
    assert set(config.data.tables.named()) == {"rgb", "ir", "text"}
    assert config.model.options["experts"] == 3
    assert [path.name for path in config.data.manifests] == ["m"]
    assert config.data.augment == base.data.augment


def test_all_mistakes_come_at_once():
    wrong = [
        "optim.lr=-1",
        "optm.lr=2",
        "train.stps=2",
        "data.augment.rgb.flp=1",
        "sampler.name=pk",
        "select.modes=[Q]",
        "sampler.per_identity=3",
        "nothing",
        "model.options.exprts=3",
        "model.options.top_k=many",
        "objective.options.scale=warm",
        "objective.options.entropy=1",
    ]
    with pytest.raises(UserError) as caught:
        load_config("flexireid-demo", wrong)
    message = str(caught.value)
    assert "has 11 mistakes" in message  # per_identity is checked once the sampler's name is one
    for part in (
        "override 'nothing' must be written section.key=value",
        "optim.lr: input should be greater than 0, received -1",
        "optm does not exist (did you mean 'optim'?)",
        "train.stps does not exist (did you mean 'steps'?)",
        "data.augment.rgb.flp does not exist (did you mean 'flip'?): choose among channel",
        "sampler.name: input should be 'tuples', 'random' or 'groups', received 'pk'",
        "query mode 'Q' is not valid",
        "model flexireid has no option exprts (did you mean 'experts'?)",
        "model.options.top_k: input should be a valid integer, received 'many'",
        "objective.options.scale: input should be a valid number, received 'warm'",
        "objective flexireid has no option entropy (did you mean 'entropy_weight'?)",
    ):
        assert part in message
    with pytest.raises(UserError, match="per_identity belongs to the sampler 'groups'"):
        load_config("flexireid-demo", ["sampler.per_identity=3"])
    with pytest.raises(UserError, match="exactly one of steps and epochs"):
        load_config("flexireid-demo", ["train.epochs=3"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.name=flexi", "model 'flexi' is unknown: choose one of aio, dmf"),
        ("objective.name=sdm2", "objective 'sdm2' is unknown: choose one of aio, dmf"),
        ("model.options.experts=0", "model.options of flexireid: experts is 0, it must be at least 1"),
        ("objective.options.mode_weights=3", "objective.options.mode_weights: input should be a valid dict"),
    ],
)
def test_options_are_checked_before_anything_is_built(override, message):
    with pytest.raises(UserError, match=message):
        load_config("flexireid-demo", [override])


@pytest.mark.parametrize(
    ("preset", "override", "message"),
    [
        ("flexireid-demo", "objective.options.scale=0", "objective.options.scale: input should be greater than 0"),
        ("flexireid-demo", "objective.options.mode_weights={S+T->R: 2.0}", r"mode 'S\+T->R' is none of T->R, "),
        ("unireid", "objective.options.tasks=[text, rgb]", "objective.options.tasks: input should be 'text', 'sketch'"),
        ("unireid", "objective.options.tasks=[]", "objective.options.tasks: list should have at least 1 item"),
        ("unireid", "objective.options.tasks=[text, text]", "a task is named twice"),
        ("aio", "model.options={words: demo, text_tokenizer: tower}", "text_tokenizer=tower has no use for them"),
        ("aio", "objective.options.tau=0.0", "objective.options.tau: input should be greater than 0"),
        ("dmf", "model.options.depth=0", "depth is 0, it must be at least 1"),
        ("dmf", "optim.groups=[{match: '('}]", r"optim.groups.0.match: not a regular expression \(missing \)"),
        ("dmf", "stages=[{name: a, restart: ['[']}]", "stages.0.restart.0: not a regular expression"),
    ],
)
def test_what_no_loss_or_optimiser_can_use_is_refused_before_anything_is_built(preset, override, message):
    with pytest.raises(UserError, match=message):
        load_config(preset, [override])


def test_a_model_of_another_name_brings_its_own_options():
    changes = ["model.name=unireid", "objective.name=unireid", "model.options.scale=9.0"]
    for overrides in (changes, changes[::-1]):
        config = load_config("flexireid-demo", overrides)
        assert (config.model.options, config.objective.options) == ({"scale": 9.0}, {})


def test_what_stages_give_to_the_model_is_checked_before_the_first_stage():
    """Before, a wrong option of a second stage ended a run after its first stage."""
    with pytest.raises(UserError) as caught:
        load_config(
            "dmf", ["stages=[{name: a, model: {modality_mix: 2.0}}, {name: b, model: {depth: 3}}]", "optim.lr=0"]
        )
    told = str(caught.value)
    assert "3 mistakes" in told
    assert "stages.0.model of dmf: modality_mix is 2.0, it must lie between 0 and 1" in told
    assert "a stage of dmf has no option depth: choose among modality_mix" in told
    with pytest.raises(UserError, match=r"stages\.0\.model changes threshold, but flexireid takes no changes"):
        load_config("flexireid", ["stages=[{name: a, model: {threshold: 0.1}}]"])


def test_every_model_has_options_and_an_objective():
    from reidtrain.models import MODELS, OPTIONS, STAGE_OPTIONS
    from reidtrain.objective_options import DEFAULTS, KINDS
    from reidtrain.objectives import OBJECTIVES

    assert MODELS.keys() == OPTIONS.keys() == OBJECTIVES.keys() == DEFAULTS.keys()
    assert {name: kinds.keys() for name, kinds in KINDS.items()} == {n: d.keys() for n, d in DEFAULTS.items()}
    assert STAGE_OPTIONS.keys() <= MODELS.keys()


def test_a_configuration_is_read_without_torch():
    """It takes over a second to import, and `show-config` answers in a fraction of one."""
    code = "import sys; from reidtrain.config import load_config; load_config('dmf'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_rows_can_be_left_to_the_preset_that_has_them():
    listed = presets()
    assert "aio:fb" in listed
    assert not [name for name in listed if name.startswith("aio-online:")]
    with pytest.raises(UserError, match="preset 'aio-online' has no row 'fb': it has none"):
        load_config("aio-online:fb")


def test_presets_are_found_by_path_and_inherit(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: flexireid-demo\noptim: {lr: 0.5}\nmodel: {options: {experts: 2}}\n")
    config = load_config(str(tmp_path / "mine.yaml"))
    assert (config.preset, config.optim.lr, config.model.options) == (
        "mine",
        0.5,
        {**load_config("flexireid-demo").model.options, "experts": 2},
    )
    (tmp_path / "other.yaml").write_text(
        "extends: flexireid-demo\nmodel: {name: unireid}\nobjective: {name: unireid}\n"
    )
    assert load_config(str(tmp_path / "other.yaml")).model.options == {}


def test_wrong_presets_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"'flexireid-dem' is unknown \(did you mean 'flexireid-demo'\?\)"):
        load_config("flexireid-dem")
    with pytest.raises(UserError, match="does not exist"):
        load_config(str(tmp_path / "none.yaml"))
    loop = tmp_path / "loop.yaml"
    loop.write_text(f"extends: {loop}\n")
    with pytest.raises(UserError, match="extends itself"):
        load_config(str(loop))
    (tmp_path / "list.yaml").write_text("[1]")
    with pytest.raises(UserError, match="must be a mapping"):
        load_config(str(tmp_path / "list.yaml"))
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(UserError, match="not valid YAML"):
        load_config(str(tmp_path / "bad.yaml"))


def test_differences_name_what_changes_the_training():
    base = load_config("flexireid-demo", manifests=["a"])
    same = load_config("flexireid-demo", ["data.workers=3", "train.log_every=1", "train.keep=9"], manifests=["b"])
    assert differences(base, same) == []
    other = load_config("flexireid-demo", ["optim.lr=0.5", "model.options.experts=2"], manifests=["a"])
    assert [sentence.split(" is ")[0] for sentence in differences(base, other)] == ["model.options.experts", "optim.lr"]


def test_rows_of_an_ablation(tmp_path):
    assert load_config("flexireid-demo:soft").model.options["routing"] == "soft"
    assert load_config("flexireid-demo:soft").preset == "flexireid-demo:soft"
    assert load_config("flexireid-demo").model.options.get("routing") is None
    assert "unireid-demo:dynamic" in presets()
    assert "dmf-demo:msmt17" not in presets()
    assert load_config("dmf:msmt17-all").stages[1].datasets == ("msmt17-all",)
    with pytest.raises(UserError, match=r"no row 'sofd' \(did you mean 'soft'"):
        load_config("flexireid-demo:sofd")
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: unireid-demo\nrows: {slow: {optim: {lr: 1.0e-5}}}\n")
    assert load_config(f"{mine}:slow").optim.lr == 1e-5
    assert load_config(f"{mine}:slow").preset == "mine:slow"


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_and_row_is_valid(name):
    load_config(name)
