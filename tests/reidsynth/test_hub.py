"""Push and pull with the unmodified clients, against a hub on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from loopback_hub import Failure, Repo, serving
from manifest_files import unchanged
from typer.testing import CliRunner

import reidsynth
from reidsynth import hub as ours
from reidsynth.cli import app
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.manifest import open_manifest, read_info
from reidsynth.pipeline import run_step
from reidsynth.release import plan_release
from reidsynth.validate import validate

NAME = "lab/noise"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub, and the client's settings that point at it."""
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with serving() as running:
        made = huggingface_hub.HfApi(endpoint=running.url, token="hf_test")
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
        yield running


@pytest.fixture(scope="session")
def noisy_built(ingested, tmp_path_factory):
    """The manifest of noise with one table that a step made, to be copied."""
    from reidsynth.engines import LocalEngine
    from reidsynth.jobs import Run
    from reidsynth.steps import STEPS

    out = shutil.copytree(ingested, tmp_path_factory.mktemp("noisy") / "m")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STEPS, "build-ir", {**STEPS["build-ir"], "inverse": "drawn_source:Inverse"})
        run_step(out, "build-ir", "inverse", {}, run=Run(LocalEngine(1), progress=False))
    with unchanged(out):
        yield out


@pytest.fixture
def noisy(noise, noisy_built, tmp_path):
    """A manifest of drawn captures whose own tables are never published, with one table that a step made."""
    return shutil.copytree(noisy_built, tmp_path / "m")


def push(folder, name=NAME, **options):
    asked = {key: options.pop(key) for key in ("visibility", "full", "tables", "contact") if key in options}
    return ours.push(plan_release(open_manifest(folder), **asked), name, progress=False, **options)


def test_a_delta_goes_private_and_only_what_terms_allow(hub, noisy):
    report = push(noisy)
    repo = hub.repos[NAME]
    assert repo.private
    assert report.tables == ("captures", "ir-inverse")
    assert set(report.refused) == {"rgb", "mask", "text"}
    folders = {path.partition("/")[0] for path in repo.files}
    assert folders == {".gitattributes", "README.md", "manifest.json", "captures", "ir-inverse", "preview"}
    photographs = {shard.sha256 for shard in open_manifest(noisy).tables["rgb"].shards}
    assert not photographs & set(hub.uploads())
    made, read, sent = (
        next(i for i, line in enumerate(hub.log) if line.startswith(start))
        for start in ("POST /api/repos/create", f"GET /api/datasets/{NAME}", "PUT /lfs/")
    )
    later = [i for i, line in enumerate(hub.log) if line == f"GET /api/datasets/{NAME}" and made < i < sent]
    assert read < made < later[0] < sent  # looked, made, read back, and only then the first byte


def test_the_card_of_a_release(hub, noisy):
    push(noisy, contact="mail privacy@lab.test")
    card = hub.repos[NAME].files["README.md"].decode()
    assert "config_name: ir-inverse" in card
    assert "config_name: rgb" not in card
    assert "| `ir-inverse` | build-ir inverse v1 | no weights | - | - |" in card
    assert "| ir-inverse | synthetic (pseudo) | train | 11 | 0 | 1 | 0 |" in card
    assert "Licence: Apache-2.0" in card
    assert "## Take-down" in card
    assert "mail privacy@lab.test" in card
    assert "reidsynth rehydrate" in card


@pytest.mark.parametrize("name", ["lab/a--b", "lab/.git", "lab/" + "n" * 100])
def test_a_name_that_the_hub_refuses_is_one_sentence(hub, noisy, tmp_path, name):
    for use in (lambda: push(noisy, name), lambda: ours.pull(name, tmp_path / "p")):
        with pytest.raises(UserError, match="is no repository: "):
            use()
    assert hub.log == []


def test_a_later_push_keeps_the_contact(hub, noisy, run):
    push(noisy, contact="mail privacy@lab.test")
    assert push(noisy).sent == {}
    run_step(noisy, "build-sketch", "outline", {}, run=run)
    assert "README.md" in push(noisy).sent
    assert "rows removed: mail privacy@lab.test, with the" in hub.repos[NAME].files["README.md"].decode()
    assert set(push(noisy, contact="ask@lab.test").sent) == {"README.md"}
    assert "privacy@" not in hub.repos[NAME].files["README.md"].decode()


def test_full_release_still_leaves_out_what_terms_forbid(hub, noisy):
    report = push(noisy, full=True)
    assert report.refused["rgb"].startswith("never published: noise (Apache-2.0)")
    assert "rgb" not in report.tables


def test_derived_tables_of_restricted_data_do_not_go_public(hub, noisy):
    with pytest.raises(UserError, match="ir-inverse: at most in a private repository, and this one is public"):
        push(noisy, visibility="public")
    assert hub.log == []


def test_a_second_push_sends_nothing_and_a_late_modality_only_its_files(hub, noisy, run):
    push(noisy)
    sent = len(hub.uploads())
    assert push(noisy).sent == {}
    assert len(hub.uploads()) == sent
    run_step(noisy, "build-sketch", "outline", {}, run=run)
    report = push(noisy)
    new = {path.partition("/")[0] for path in report.sent}
    assert new == {"sketch-outline", "preview", "README.md", "manifest.json"}
    assert not [path for path in hub.repos[NAME].commits[-1]["added"] if path.startswith(("captures", "ir-"))]
    assert "config_name: sketch-outline" in hub.repos[NAME].files["README.md"].decode()


def test_an_existing_public_repository_is_refused_before_the_first_byte(hub, noisy):
    hub.repos[NAME] = Repo(private=False)
    with pytest.raises(UserError, match=r"lab/noise is public, and this push is private: no file was sent"):
        push(noisy)
    assert hub.uploads() == []
    assert not hub.repos[NAME].commits


def test_a_gate_that_lets_in_whoever_asks_is_no_gate(hub, noise, run, tmp_path, monkeypatch):
    from drawn_source import Noise

    from reidsynth.policy import Policy

    monkeypatch.setattr(Noise, "policy", Policy("MIT", default_release="gated"))
    ingest(tmp_path / "m", "noise", {"rows": 6}, run=run)
    hub.repos[NAME] = Repo(private=False, gated="auto")
    with pytest.raises(UserError, match="lab/noise is gated, and lets in whoever asks, and this push is gated"):
        push(tmp_path / "m", visibility="gated", full=True)
    assert hub.uploads() == []
    hub.repos[NAME].gated = "manual"
    push(tmp_path / "m", visibility="gated", full=True)
    assert hub.repos[NAME].gated == "manual"
    monkeypatch.setattr(Noise, "policy", Policy("MIT", default_release="public"))
    ingest(tmp_path / "open", "noise", {"rows": 6}, run=run)
    hub.repos["lab/open"] = Repo(private=False, gated="auto")
    push(tmp_path / "open", "lab/open", visibility="public", full=True)
    assert hub.repos["lab/open"].gated is False


def test_a_hub_that_ignores_private_gets_nothing(hub, noisy):
    hub.created_public = True
    with pytest.raises(UserError, match="is public, and this push is private"):
        push(noisy)
    assert hub.uploads() == []


def test_a_repository_opened_in_the_middle_stops_the_push(hub, noisy, monkeypatch):
    monkeypatch.setattr("reidsynth.hub.pushing.COMMIT_FILES", 1)
    before = ours.Remote.commit

    def opened(self, *arguments):
        before(self, *arguments)
        hub.repos[NAME].private = False

    monkeypatch.setattr(ours.Remote, "commit", opened)
    with pytest.raises(UserError, match="is public, and this push is private"):
        push(noisy)
    assert len(hub.repos[NAME].commits) == 1


@pytest.mark.parametrize("where", [r"PUT /lfs/", r"POST .*/commit/", r"POST .*/(batch|preupload)", "GET .*/tree/"])
def test_passing_failures_are_waited_out(hub, noisy, where):
    hub.failures = [Failure(where, 429, headers={"Retry-After": "1"}), Failure(where, 503), Failure(where, 500)]
    push(noisy)
    assert [failure.times for failure in hub.failures] == [0, 0, 0]
    assert push(noisy).sent == {}


def test_an_interrupted_push_is_resumed_where_it_stopped(hub, noisy, monkeypatch):
    monkeypatch.setattr("reidsynth.hub.pushing.COMMIT_FILES", 1)
    hub.failures = [Failure(r"POST .*/commit/", 403, times=1, after=2)]
    with pytest.raises(UserError, match="the Hub answered 403"):
        push(noisy)
    arrived = set(hub.uploads())
    assert "manifest.json" not in hub.repos[NAME].files  # nobody takes the half for the whole
    report = push(noisy)
    assert len(set(hub.uploads())) == len(hub.uploads())  # nothing was sent twice
    assert arrived < set(hub.uploads())
    assert len([path for path in report.sent if path.startswith(("captures", "ir-"))]) == 2


def test_a_failure_that_stays_is_one_sentence(hub, noisy):
    hub.failures = [Failure(r"POST .*/commit/", 500, times=99)]
    with pytest.raises(UserError, match="the Hub answered 500 about lab/noise: wait and run the same command again"):
        push(noisy)


def test_an_unreachable_hub(noisy, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    api = huggingface_hub.HfApi(endpoint="http://127.0.0.1:9", token="x")
    with pytest.raises(UserError, match="the Hub can't be reached about lab/noise"):
        push(noisy, api=api)
    report = push(noisy, api=api, dry_run=True)
    assert "can't be reached" in report.obstacle
    assert "ir-inverse/train-00000-of-00001.parquet" in report.sent
    with pytest.raises(UserError, match="the Hub can't be reached about lab/noise"):
        ours.pull(NAME, noisy.parent / "pulled", api=api)


def test_public_release_is_opened_after_the_last_file(hub, noise, run, tmp_path, monkeypatch):
    from drawn_source import Noise

    from reidsynth.policy import Policy

    monkeypatch.setattr(Noise, "policy", Policy("MIT", default_release="public"))
    ingest(tmp_path / "m", "noise", {"rows": 6}, run=run)
    for visibility, gated in (("gated", "manual"), ("public", False)):
        name = f"lab/{visibility}"
        report = push(tmp_path / "m", name, visibility=visibility, full=True)
        assert report.tables == ("captures", "mask", "rgb", "text")
        assert (hub.repos[name].private, hub.repos[name].gated) == (False, gated)
        last = len(hub.log) - 1 - hub.log[::-1].index(f"POST /api/datasets/{name}/commit/main")
        assert hub.log.index(f"PUT /api/datasets/{name}/settings") > last
    assert b"extra_gated_prompt" in hub.repos["lab/gated"].files["README.md"]
    assert b"extra_gated_prompt" not in hub.repos["lab/public"].files["README.md"]
    with pytest.raises(UserError, match="is public, and this push is private"):
        push(tmp_path / "m", "lab/public", full=True)


def test_other_captures_and_lost_tables_need_the_users_word(hub, noisy, noise, run, tmp_path):
    push(noisy)
    ingest(tmp_path / "other", "noise", {"rows": 8}, run=run)
    run_step(tmp_path / "other", "build-ir", "inverse", {"offset": 1}, run=run)
    with pytest.raises(UserError, match="holds other captures than"):
        push(tmp_path / "other")
    run_step(noisy, "build-sketch", "outline", {}, run=run)
    push(noisy)
    with pytest.raises(UserError, match=r"holds tables that this release lacks \(sketch-outline\)"):
        push(noisy, tables=["ir-inverse"])
    report = push(noisy, tables=["ir-inverse"], replace=True)
    assert report.deleted == (
        "sketch-outline/test-00000-of-00001.parquet",
        "sketch-outline/train-00000-of-00001.parquet",
    )
    assert not [path for path in hub.repos[NAME].files if path.startswith("sketch-outline")]


def test_a_repository_of_something_else_is_left_alone(hub, noisy):
    hub.repos[NAME] = Repo(private=True, files={"weights.bin": b"1"})
    with pytest.raises(UserError, match=r"holds files that are no manifest \('weights\.bin'\)"):
        push(noisy)
    assert set(hub.repos[NAME].files) == {"weights.bin"}


def test_a_table_made_from_other_inputs_is_not_published(hub, noisy, run):
    run_step(noisy, "build-sketch", "outline", {}, run=run)
    run_step(noisy, "build-ir", "inverse", {"offset": 1}, run=run)
    with pytest.raises(UserError, match=r"'sketch-outline' of .* was made from other inputs than those now there"):
        push(noisy)
    assert NAME not in hub.repos
    assert push(noisy, tables=["ir-inverse"]).tables == ("captures", "ir-inverse")


def test_a_damaged_shard_is_not_published(hub, noisy):
    manifest = open_manifest(noisy)
    path = noisy / manifest.tables["ir-inverse"].shards[0].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not the file on record"):
        push(noisy)
    assert "manifest.json" not in hub.repos[NAME].files


def test_pull_is_the_release_and_sound(hub, noisy, run, tmp_path):
    run_step(noisy, "build-sketch", "outline", {}, run=run)
    push(noisy)
    pulled = ours.pull(NAME, tmp_path / "p")
    assert set(pulled.tables) == {"ir-inverse", "sketch-outline"}
    assert validate(tmp_path / "p") == []  # tables made from withheld ones are not called stale
    shard = pulled.tables["ir-inverse"].shards[0].file
    assert (tmp_path / "p" / shard).read_bytes() == (noisy / shard).read_bytes()
    part = ours.pull(NAME, tmp_path / "part", tables=["ir-inverse"])
    assert set(part.tables) == {"ir-inverse"}
    assert not (tmp_path / "part/sketch-outline").exists()
    assert validate(tmp_path / "part") == []
    assert set(ours.pull(NAME, tmp_path / "part").tables) == {"ir-inverse", "sketch-outline"}
    with pytest.raises(UserError, match="has no table 'rgb': it holds ir-inverse, sketch-outline"):
        ours.pull(NAME, tmp_path / "x", tables=["rgb"])
    with pytest.raises(UserError, match="the Hub answered 404 about lab/nothing"):
        ours.pull("lab/nothing", tmp_path / "x")


def test_a_file_that_arrives_damaged_is_fetched_again(hub, noisy, tmp_path):
    push(noisy)
    path = "ir-inverse/train-00000-of-00001.parquet"
    good = hub.repos[NAME].files[path]
    hub.repos[NAME].files[path] = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(UserError, match="did not arrive whole and was deleted: pull again"):
        ours.pull(NAME, tmp_path / "p")
    hub.repos[NAME].files[path] = good
    hub.repos[NAME].commits.append({"added": [path], "deleted": []})
    assert ours.pull(NAME, tmp_path / "p").tables["ir-inverse"].counts["train"] == {"absent": 1, "pass": 11}


def test_a_pull_interrupted_at_any_file_goes_on(hub, noisy, tmp_path):
    push(noisy)
    for file in [path for path in hub.repos[NAME].files if path not in ("manifest.json", ".gitattributes")]:
        out = tmp_path / file.replace("/", "-")
        (out / file).parent.mkdir(parents=True)
        (out / file).write_bytes(hub.repos[NAME].files[file])
        assert ours.pull(NAME, out).tables.keys() == {"ir-inverse"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        ours.pull(NAME, tmp_path / "mine")


def test_open_manifest_takes_a_repository(hub, noisy, tmp_path, monkeypatch):
    push(noisy)
    monkeypatch.chdir(tmp_path)
    for name in (NAME, f"hf://datasets/{NAME}", f"{NAME}@main"):
        manifest = reidsynth.open_manifest(name)
        assert manifest.table("ir-inverse", "train")[0]["sample_id"] == "noise/train/00000"
    (tmp_path / "lab").mkdir()
    with pytest.raises(UserError, match="lab/noise does not exist, so it is no manifest"):
        reidsynth.open_manifest(NAME)  # the folder above is there: a path, mistyped


def test_ledgers_drafts_and_half_written_files_never_go(hub, noisy):
    strangers = (
        ".ledger/captions.sqlite",
        ".ledger/captions.sqlite-wal",
        ".drafts/text-openai/train-00000-of-00001.draft",
        ".parts/noise/manifest.json",
        "ir-inverse/.writing-17-train-00000-of-00001.parquet",
        "ir-inverse/train-00007-of-00008.parquet",
        "notes.txt",
        "captures/key.pem",
    )
    for name in strangers:
        (noisy / name).parent.mkdir(parents=True, exist_ok=True)
        (noisy / name).write_bytes(b"paid answers")
    push(noisy)
    sent = set(hub.repos[NAME].files)
    named = {shard.file for name in ("captures", "ir-inverse") for shard in open_manifest(noisy).info.shards_of(name)}
    generated = {"README.md", "manifest.json", "preview/preview-00000-of-00001.parquet"}
    assert sent - {".gitattributes"} == named | generated
    values = json.loads((noisy / "manifest.json").read_text())
    values["tables"]["ir-inverse"]["shards"][0]["file"] = strangers[0]  # not even where a description names one
    (noisy / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="is no path inside the manifest"):
        push(noisy)


def test_dry_run_lists_what_would_go_and_why_the_rest_may_not(hub, noisy):
    arguments = ["push", str(noisy), NAME, "--dry-run"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "lab/noise (new, private): would send 7 files" in result.output
    assert "ir-inverse  2 files" in result.output
    assert "rgb         stays: never published: noise (Apache-2.0)" in result.output
    assert NAME not in hub.repos
    hub.repos[NAME] = Repo(private=False)
    stopped = CliRunner().invoke(app, [*arguments, "--json"])
    assert stopped.exit_code == 1
    assert "is public" in json.loads(stopped.stdout)["obstacle"]
    wrong = CliRunner().invoke(app, ["push", str(noisy), NAME, "--visibility", "open"])
    assert wrong.exit_code == 2
    assert "it is one of private, gated, public" in wrong.stderr


def test_a_dry_run_of_nothing_says_so(hub, noisy):
    result = CliRunner().invoke(app, ["push", str(noisy), NAME, "--visibility", "public", "--dry-run"])
    assert result.exit_code == 1
    assert "would send 0 files, 0 B" in result.stdout
    assert "may be published like this (ir-inverse: at most in a private repository" in " ".join(result.stderr.split())


def test_terms_with_characters_of_markdown_stay_in_their_cell(hub, noise, run, tmp_path, monkeypatch):
    from drawn_source import Inverse, Noise

    from reidsynth.policy import Policy

    monkeypatch.setattr(Noise, "policy", Policy("MIT | CC-BY-4.0\nwhichever you like"))
    monkeypatch.setattr(Inverse, "parameters", lambda self: {"offset": self.offset, "model": "lab/a|b"})
    ingest(tmp_path / "m", "noise", {"rows": 6}, run=run)
    run_step(tmp_path / "m", "build-ir", "inverse", {}, run=run)
    push(tmp_path / "m")
    card = hub.repos[NAME].files["README.md"].decode().splitlines()
    assert "| `ir-inverse` | build-ir inverse v1 | lab/a\\|b | - | - |" in card
    assert r"| rgb | never published: noise (MIT \| CC-BY-4.0 whichever you like) |" in card
    assert "  - Licence: MIT | CC-BY-4.0 whichever you like." in card


CLIENT = """
import json, sys
import datasets
name, told = sys.argv[1], {}
for config in datasets.get_dataset_config_names(name):
    loaded = datasets.load_dataset(name, config)
    told[config] = {split: part.num_rows for split, part in loaded.items()}
row = datasets.load_dataset(name, "ir-inverse", split="test")[1]
told["size"] = row["image"].size
streamed = datasets.load_dataset(name, "ir-inverse", split="train", streaming=True)
told["streamed"] = [entry["sample_id"] for entry in streamed.take(2)]
told["preview"] = datasets.load_dataset(name, split="preview").column_names
print(json.dumps(told))
"""


def test_the_datasets_client_reads_every_config_and_streams(hub, noisy, tmp_path):
    push(noisy)
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": "hf_test",
        "HF_HOME": str(tmp_path / "h"),
    }
    command = [sys.executable, "-c", CLIENT, NAME]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert {name: told[name] for name in ("captures", "ir-inverse")} == {
        "captures": {"train": 12, "test": 12},
        "ir-inverse": {"train": 12, "test": 12},
    }
    assert told["size"] == [12, 25]
    assert told["streamed"] == ["noise/train/00000", "noise/train/00001"]
    assert told["preview"] == ["sample_id", "pid", "camid", "split", "role", "ir-inverse"]


def test_the_release_describes_itself(hub, noisy, tmp_path):
    push(noisy)
    (tmp_path / "r").mkdir()
    (tmp_path / "r/manifest.json").write_bytes(hub.repos[NAME].files["manifest.json"])
    info = read_info(tmp_path / "r")
    assert set(info.withheld) == {"rgb", "mask", "text"}
    assert "root" not in info.source.parameters


def test_a_take_down_leaves_neither_rows_nor_history(hub, noisy, tmp_path):
    from reidsynth.selection import Selection, select

    push(noisy)
    rest = select(open_manifest(noisy), Selection(where="sample_id != 'noise/train/00003'"), tmp_path / "rest")
    push(rest.path, replace=True, forget=True)
    assert len(hub.repos[NAME].commits) == 1
    pulled = ours.pull(NAME, tmp_path / "p")
    assert pulled.info.splits["train"].rows == 11
    assert "noise/train/00003" not in pulled.captures("train").column("sample_id").to_pylist()
    assert "rehydrate lab/noise FOLDER_OF_THE_DATA_SET" in (tmp_path / "p/README.md").read_text()
    assert validate(tmp_path / "p") == []


def test_a_take_down_that_tags_or_branches_would_undo_is_refused(hub, noisy):
    push(noisy)
    hub.repos[NAME].refs = {"tags": ["v1"], "branches": ["old"]}
    before = dict(hub.repos[NAME].files), list(hub.repos[NAME].commits)
    said = r"lab/noise has the tag 'v1' and the branch 'old' besides its main branch.*delete them first"
    with pytest.raises(UserError, match=said):
        push(noisy, contact="new@lab.test", forget=True)
    assert (hub.repos[NAME].files, hub.repos[NAME].commits) == before
    assert "the tag 'v1'" in push(noisy, forget=True, dry_run=True).obstacle
    hub.repos[NAME].refs = {}
    push(noisy, forget=True)
    assert len(hub.repos[NAME].commits) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v["captures"][0].update(file="../../victim.parquet"), "is no path inside the manifest"),
        (lambda v: v["tables"]["ir-inverse"]["shards"][0].update(file="/etc/hosts"), "is no path inside the manifest"),
        (lambda v: v["tables"].update({"../x": v["tables"]["ir-inverse"]}), "'../x' is no name of letters"),
        (lambda v: v["captures"][0].update(split="../s"), "'../s' is no name of letters"),
    ],
)
def test_a_hostile_description_stays_inside_its_folder(hub, noisy, tmp_path, change, said):
    push(noisy)
    victim = tmp_path / "victim.parquet"
    victim.write_bytes(b"mine")
    values = json.loads(hub.repos[NAME].files["manifest.json"])
    change(values)
    hub.repos[NAME].files["manifest.json"] = json.dumps(values).encode()
    with pytest.raises(UserError, match=said):
        ours.pull(NAME, tmp_path / "deep" / "p")
    assert victim.read_bytes() == b"mine"


def test_no_place_on_this_machine_is_published(hub, noisy, noise, run, tmp_path, monkeypatch):
    from drawn_source import Inverse

    place = str(tmp_path / "weights" / "net.onnx")
    monkeypatch.setattr(Inverse, "parameters", lambda self: {"offset": self.offset, "file": place})
    run_step(noisy, "build-ir", "inverse", {"offset": 2}, run=run)
    push(noisy)
    for name in ("README.md", "manifest.json"):
        text = hub.repos[NAME].files[name].decode()
        assert str(tmp_path) not in text
        assert "net.onnx" in text
    assert validate(noisy) == []


PUSHER = """
import sys
from reidsynth.hub import push
from reidsynth.manifest import open_manifest
from reidsynth.release import plan_release
import reidsynth.hub.pushing as pushing
pushing.COMMIT_FILES = 1
push(plan_release(open_manifest(sys.argv[1])), sys.argv[2], progress=False)
"""


@pytest.mark.slow
def test_a_push_killed_at_random_moments_ends_the_same(hub, noise, run, tmp_path, monkeypatch):
    import random
    import time

    monkeypatch.undo()  # this test waits in earnest, in processes of its own
    monkeypatch.setattr("reidsynth.ingest.ROWS_PER_SHARD", 100)
    world = {"train": 200, "val": 0, "test": 0, "observations": 4, "height": 64, "width": 32}
    ingest(tmp_path / "m", "demo", world, run=run)
    run_step(tmp_path / "m", "build-ir", "channel-augmentation", {}, run=run)
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": "hf_test",
        "HF_HOME": str(tmp_path / "h"),
    }
    command = [sys.executable, "-c", PUSHER, str(tmp_path / "m"), NAME]
    draws = random.Random(0)
    for _ in range(8):
        process = subprocess.Popen(command, env=os.environ | settings, stderr=subprocess.DEVNULL)
        time.sleep(draws.uniform(1.0, 4.0))
        process.kill()
        process.wait()
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    named = [path for commit in hub.repos[NAME].commits for path in commit["added"] if path.startswith(("capt", "ir-"))]
    assert len(named) == len(set(named))  # no shard was committed twice
    manifest = open_manifest(tmp_path / "m")
    for shard in manifest.tables["ir-ca"].shards:
        assert hub.repos[NAME].files[shard.file] == (tmp_path / "m" / shard.file).read_bytes()
    assert hub.repos[NAME].private
