"""Batches of questions: cut by bytes, recorded before they are waited for, collected in another process."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from caption_server import ANSWER_TOKENS, PROMPT_TOKENS, CaptionServer

from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.jobs import Run
from reidsynth.manifest import write_info
from reidsynth.pipeline import run_step
from reidsynth.spending import Allowance
from reidsynth.steps.captions import batches
from reidsynth.steps.captions.ledger import FILE, Ledger

PHOTOS = 22
ONE_ANSWER = (PROMPT_TOKENS * 1.0 + ANSWER_TOKENS * 2.0) / 1e6


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(batches, "_PAUSES", (0.001,) * 4)
    with CaptionServer() as running:
        yield running


@pytest.fixture
def caption(manifest, run, server):
    def called(allowance=None, **parameters):
        values = {"model": "m", "base_url": server.url, "mode": "batch", "poll_seconds": 0.01} | parameters
        allowed = Run(run.engine, progress=False, allowance=allowance or Allowance())
        return run_step(manifest.path, "caption", "openai", values, run=allowed)

    return called


def verdicts(manifest):
    counts = Counter()
    for split in manifest.tables["text-openai"].counts.values():
        counts.update(split)
    return dict(counts)


def test_a_batch_gives_the_table_that_single_questions_give(caption, server):
    server.polls_before_end = 3
    made = caption()
    assert verdicts(made) == {"pass": PHOTOS, "absent": 2}
    assert set(server.billed.values()) == {1}
    assert [len(batch["lines"]) for batch in server.batches.values()] == [PHOTOS]
    assert caption(mode="chat").checksum == made.checksum
    assert not server.bodies


def test_files_are_cut_by_their_bytes(caption, server):
    caption(batch_bytes=20_000)
    files = [data for name, data in server.files.items() if name.startswith("file-")]
    assert len(files) > 3
    assert all(len(data) <= 20_000 for data in files)
    assert sum(len(batch["lines"]) for batch in server.batches.values()) == PHOTOS
    lines = [json.loads(line) for data in files for line in data.splitlines()]
    assert len({line["custom_id"] for line in lines}) == PHOTOS
    assert all(len(line["custom_id"]) <= 64 and line["method"] == "POST" for line in lines)


def test_files_are_cut_by_their_number_after_the_bytes():
    lines = [(b"x" * 10, (None, 0.0))] * 7
    assert [len(chosen) for chosen, _ in batches._files(lines, 1000, 3)] == [3, 3, 1]
    assert [len(chosen) for chosen, _ in batches._files(lines, 25, 3)] == [2, 2, 2, 1]
    assert [len(chosen) for chosen, _ in batches._files(lines, 5, 3)] == [1] * 7  # one that is too large goes alone


def test_what_an_expired_batch_answered_is_kept_and_the_rest_is_asked_again(caption, server):
    def expire_first(batch, lines):
        if batch["id"] == "batch-0":
            return "expired", lines[:9], lines[9:]
        return "completed", lines, []

    server.plan = expire_first
    made = caption()
    assert verdicts(made)["pass"] == PHOTOS
    assert [len(batch["lines"]) for batch in server.batches.values()] == [PHOTOS, PHOTOS - 9]
    assert set(server.billed.values()) == {1}


def test_a_failed_batch_without_files_is_asked_again(caption, server):
    server.plan = lambda batch, lines: ("failed", [], []) if batch["id"] == "batch-0" else ("completed", lines, [])
    assert verdicts(caption())["pass"] == PHOTOS


def test_without_waiting_the_next_run_collects(caption, server, manifest):
    server.polls_before_end = 2
    made = caption(wait=False)
    assert made.tables["text-openai"].reasons["not answered: in a batch on its way"] == PHOTOS
    made = caption(wait=False)
    assert len(server.batches) == 1  # nothing is asked twice while it is on its way
    made = caption(wait=False)
    assert verdicts(made)["pass"] == PHOTOS
    assert set(server.billed.values()) == {1}


@pytest.mark.parametrize("mode", ["batch", "chat"])
def test_collecting_sends_no_pixels_that_nobody_allowed(caption, server, manifest, monkeypatch, mode):
    """What a batch left unanswered goes out again only with the user's word for this run."""
    monkeypatch.setattr("reidsynth.steps.captions.service.is_local", lambda address: False)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    source = manifest.info.source.model_copy(update={"policy": manifest.info.source.policy | {"egress": True}})
    write_info(manifest.path, manifest.info.model_copy(update={"source": source}))
    server.plan = lambda batch, lines: ("expired", lines[:9], lines[9:])
    server.polls_before_end = 1
    caption(Allowance(egress=True), wait=False)
    with pytest.raises(UserError, match="add --allow-egress"):
        caption(mode=mode)
    assert (len(server.batches), sum(server.billed.values())) == (1, 9)
    server.plan = lambda batch, lines: ("completed", lines, [])
    assert verdicts(caption(Allowance(egress=True), mode=mode))["pass"] == PHOTOS
    assert set(server.billed.values()) == {1}


def test_a_batch_handed_in_but_not_recorded_is_found_by_its_token(caption, server):
    def lost(handler, body):
        handler.close_connection = True
        handler.connection.close()

    server.faults.append(lost)
    with pytest.raises(UserError, match="batches that were handed in are found again"):
        caption()
    assert len(server.batches) == 1
    assert verdicts(caption())["pass"] == PHOTOS
    assert len(server.batches) == 1
    assert set(server.billed.values()) == {1}


def test_a_batch_that_never_arrived_is_handed_in_again(caption, server):
    def refused(handler, body):
        server.batches.popitem()
        handler.fail(500, "try later")

    server.faults.append(refused)
    with pytest.raises(UserError, match="HTTP 500: try later"):
        caption()
    assert verdicts(caption())["pass"] == PHOTOS
    assert set(server.billed.values()) == {1}


def test_faults_while_waiting_pass(caption, server):
    server.polls_before_end = 2
    server.look_faults.extend([lambda handler, body: handler.fail(502, "bad gateway")] * 2)
    server.look_faults.append(lambda handler, body: handler.fail(429, "slow", Retry_After="0.01"))
    assert verdicts(caption())["pass"] == PHOTOS


def test_broken_lines_of_a_result_are_asked_again(caption, server):
    def spoil(batch, lines):
        if batch["id"] == "batch-0":
            server.files["spoilt"] = b'{"custom_id": \nnull\n{"custom_id": "unknown-0", "response": null}\n[]'
            batch["error_file_id"] = "spoilt"
            return "completed", lines[5:], []
        return "completed", lines, []

    server.plan = spoil
    assert verdicts(caption())["pass"] == PHOTOS
    assert len(server.batches) == 2


def test_max_cost_holds_before_anything_is_handed_in(caption, server):
    prices = {"input_price": 1.0, "output_price": 2.0, "max_tokens": ANSWER_TOKENS}
    made = caption(Allowance(limit=1), **prices)
    made = caption(Allowance(max_cost=6 * ONE_ANSWER), **prices)
    billed = sum(server.billed.values())
    assert 4 <= billed <= 6
    assert made.tables["text-openai"].reasons["not asked: --max-cost is reached"] == PHOTOS - billed
    with Ledger(made.path / FILE) as ledger:
        assert ledger.spent() == pytest.approx(billed * ONE_ANSWER)


# kills


def tree(folder: Path) -> dict[str, bytes]:
    """All that a manifest holds but the ledger, whose pages tell in which order answers came."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and ".ledger" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def service(tmp_path):
    """A service of its own process, whose bills outlive whoever asks."""
    folder = tmp_path / "service"
    folder.mkdir()
    program = Path(__file__).with_name("caption_server.py")
    process = subprocess.Popen([sys.executable, str(program), str(folder)])
    while not (folder / "url").exists() or not (folder / "url").read_text():
        assert process.poll() is None
        time.sleep(0.02)
    yield folder
    process.kill()
    process.wait()


def captioning(out: Path, url: str, mode: str, workers: int = 1) -> subprocess.Popen[bytes]:
    arguments = ["caption", str(out), "--method", "openai", "--max-failed", "1", "--set", "model=m"]
    arguments += ["--set", f"base_url={url}", "--set", f"mode={mode}", "--set", "poll_seconds=0.05"]
    arguments += ["--set", "concurrency=3", "--set", "batch_bytes=30000", "--workers", str(workers)]
    command = [sys.executable, "-m", "reidsynth", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def kill_and_resume(tmp_path, service, run, mode: str, kills: int, seed: int) -> None:
    """Kill while questions are on their way; compare with a run that asked a service of its own undisturbed."""
    rows = {"train": 40, "val": 0, "test": 10, "observations": 1, "height": 64, "width": 32}
    url = (service / "url").read_text()
    out = ingest(tmp_path / "killed", "demo", rows, run=run).path
    undisturbed = ingest(tmp_path / "undisturbed", "demo", rows, run=run).path
    with CaptionServer() as other:
        run_step(undisturbed, "caption", "openai", {"model": "m", "base_url": other.url}, run=run)
    rng = random.Random(seed)

    def bills() -> list[str]:
        return [path.name for path in service.iterdir() if path.name != "url"]

    for _ in range(kills):
        process = captioning(out, url, mode, rng.choice((1, 2, 3)))
        target = len(bills()) + rng.randint(1, max(1, 30 // kills))
        while process.poll() is None and len(bills()) < target:
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert captioning(out, url, mode).wait() == 0
    assert tree(out) == tree(undisturbed)
    assert len(bills()) == 50
    assert all(name.endswith("-1") for name in bills())  # no image was billed twice


def test_killed_while_asking_no_answer_is_lost_or_paid_twice(tmp_path, service, run):
    kill_and_resume(tmp_path, service, run, "chat", kills=1, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["chat", "batch"])
def test_killed_twenty_times(tmp_path, service, run, mode):
    kill_and_resume(tmp_path, service, run, mode, kills=20, seed=1)
