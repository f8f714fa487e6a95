"""Captions by an OpenAI-compatible service on loopback: faults, money, the ledger, kills."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import time

import pytest
from caption_server import ANSWER_TOKENS, PROMPT_TOKENS, CaptionServer, answer_for, completion
from typer.testing import CliRunner

from reidsynth.cli import app
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.jobs import Run
from reidsynth.manifest import open_manifest
from reidsynth.pipeline import estimate_step, run_step
from reidsynth.spending import Allowance
from reidsynth.steps.captions import chat
from reidsynth.steps.captions.ledger import FILE, Ledger
from reidsynth.steps.captions.pace import Pace, retry_after

ROWS = 12  # in each of two splits; one photograph in seven can't be read
PHOTOS = 22
PRICES = {"input_price": 1.0, "output_price": 2.0}
ONE_ANSWER = (PROMPT_TOKENS * 1.0 + ANSWER_TOKENS * 2.0) / 1e6


@pytest.fixture
def server():
    with CaptionServer() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(chat, "_FIRST_PAUSE", 0.001)


@pytest.fixture
def caption(manifest, run, server):
    def called(allowance=None, **parameters):
        values = {"model": "m", "base_url": server.url} | parameters
        allowed = Run(run.engine, progress=False, allowance=allowance or Allowance())
        return run_step(manifest.path, "caption", "openai", values, run=allowed)

    return called


def rows(manifest, table="text-openai"):
    return [row for split in manifest.splits for row in manifest.table(table, split).rows(0, ROWS)]


def verdicts(manifest):
    counts = {}
    for split in manifest.tables["text-openai"].counts.values():
        for verdict, number in split.items():
            counts[verdict] = counts.get(verdict, 0) + number
    return counts


def limited(handler, body):
    handler.fail(429, "slow down", "rate_limit_exceeded", Retry_After="0.3")


def broken(handler, body):
    handler.fail(503, "overloaded")


def content(text, **changes):
    def fault(handler, body):
        handler.send(completion(text, **changes))

    return fault


def test_every_photograph_is_described_once_in_one_form(caption, server):
    made = caption()
    assert verdicts(made) == {"pass": PHOTOS, "absent": 2 * ROWS - PHOTOS}
    assert set(server.billed.values()) == {1}
    assert len(server.billed) == PHOTOS
    row = next(row for row in rows(made) if row["captions"])
    image = made.table("rgb", "train")[0]["image"]["bytes"]
    told = answer_for(image)
    assert row["captions"] == list(told["captions"].values())
    assert row["styles"] == ["descriptive", "concise"]
    assert row["short"] == told["short"]
    assert row["attributes"]["gender"] in ("male", "female")
    assert row["attributes"]["build"] is None  # "unknown" is nobody's build
    assert row["attributes"]["shoes_type"] is None  # told, but of a region that the view hides
    assert (row["visible"]["shoes"], row["visible"]["upper"]) == (False, True)
    assert row["model"] == "test-model-1"
    assert row["usage"] == {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": ANSWER_TOKENS}
    sent = server.bodies[0]
    assert sent["response_format"]["json_schema"]["strict"] is True
    assert row["scores"]["short_tokens"] <= 77
    assert "answers" in made.tables["text-openai"].step.weights
    assert "the ledger of answers" in (made.path / "README.md").read_text()


def test_a_lost_shard_comes_back_from_the_ledger_and_is_never_paid_for_again(caption, manifest, server):
    before = caption().checksum
    asked = len(server.bodies)
    next((manifest.path / "text-openai").glob("train-*")).unlink()
    assert caption().checksum == before
    shutil.rmtree((manifest.path / FILE).parent)
    next((manifest.path / "text-openai").glob("train-*")).unlink()
    with pytest.raises(UserError, match=r"text-openai.*is missing"):  # answers of the other shard stand there alone
        caption()
    assert len(server.bodies) == asked


def test_a_rerun_asks_nothing_and_changes_nothing(caption, server, manifest, monkeypatch):
    before = caption().checksum
    asked = len(server.bodies)
    assert caption().checksum == before
    made = caption(concurrency=3, max_tokens=500, base_url="http://127.0.0.1:9/v1")  # not even a connection
    assert made.checksum == before
    assert len(server.bodies) == asked


def test_the_table_comes_back_from_the_ledger_alone(caption, manifest, server):
    before = caption()
    for file in (before.path / "text-openai").glob("*.parquet"):
        file.unlink()
    info = before.info.model_copy(update={"tables": {k: t for k, t in before.tables.items() if k != "text-openai"}})
    from reidsynth.manifest import write_info

    write_info(before.path, info)
    assert caption(base_url="http://127.0.0.1:9/v1").checksum == before.checksum


def test_a_lost_ledger_is_not_paid_for_again(caption, server, manifest):
    before = caption()
    shutil.rmtree((before.path / FILE).parent)
    assert caption(base_url="http://127.0.0.1:9/v1").checksum == before.checksum
    assert caption(Allowance(limit=1), model="n").checksum != before.checksum  # another model's answers are others
    assert sum(server.billed.values()) == PHOTOS + 1


def test_photographs_with_the_same_bytes_share_an_answer(caption, run, server, tmp_path):
    shared = tmp_path / "shared.sqlite"
    caption(ledger=str(shared))
    other = ingest(tmp_path / "other", "noise", {"rows": ROWS}, run=run)
    values = {"model": "m", "base_url": server.url, "ledger": str(shared)}
    run_step(other.path, "caption", "openai", values, run=run)
    assert sum(server.billed.values()) == PHOTOS
    assert str(tmp_path) not in (other.path / "manifest.json").read_text()


def test_another_model_and_another_question_are_asked_anew(caption, server):
    caption()
    caption(model="n")
    caption(styles=["concise"])
    assert set(server.billed.values()) == {3}


# faults


def test_retry_after_holds_everybody(caption, server):
    server.faults.append(limited)
    made = caption(concurrency=6)
    assert verdicts(made)["pass"] == PHOTOS
    assert set(server.billed.values()) == {1}
    first = server.times[0]
    later = [moment - first for moment in server.times if moment - first > 0.29]
    assert len(later) >= PHOTOS - 5  # what was on its way already could not be held


def test_no_quota_ends_the_run_and_keeps_the_answers(caption, server):
    def empty(handler, body):
        handler.fail(429, "You exceeded your current quota", "insufficient_quota", Retry_After="60")

    server.faults.extend([lambda handler, body: False] * 5 + [empty])
    with pytest.raises(UserError, match=r"has no quota left \(You exceeded your current quota\)"):
        caption(concurrency=1)
    assert len(server.bodies) == 6  # neither retried nor waited for
    made = caption(concurrency=2)
    assert verdicts(made)["pass"] == PHOTOS
    assert set(server.billed.values()) == {1}


def test_faults_that_pass_are_tried_again(caption, server):
    def garbage(handler, body):
        handler.send(b"<html>bad gateway</html>")

    def cut(handler, body):
        handler.close_connection = True
        handler.connection.close()

    server.faults.extend([broken, garbage, cut, broken])
    made = caption(concurrency=2)
    assert verdicts(made)["pass"] == PHOTOS
    assert set(server.billed.values()) == {1}


def test_a_service_that_is_down_ends_the_run_soon(caption, server):
    server.faults.extend([broken] * 500)
    with pytest.raises(UserError, match=r"served none of the last 3 questions .*HTTP 503: overloaded"):
        caption(concurrency=2)
    assert len(server.bodies) < 60


def test_one_question_that_is_never_served_leaves_its_row_for_the_next_run(caption, server, manifest):
    victim = hashlib.sha256(manifest.table("rgb", "train")[3]["image"]["bytes"]).hexdigest()

    def picky(handler, body):
        from caption_server import image_of

        if hashlib.sha256(image_of(body)).hexdigest() != victim:
            return False
        handler.fail(400, "image can't be processed")
        return None

    server.faults.extend([picky] * 100)
    made = caption()
    assert verdicts(made) == {"pass": PHOTOS - 1, "absent": 2 * ROWS - PHOTOS + 1}
    assert rows(made)[3]["reason"] == "not answered: HTTP 400: image can't be processed"
    server.faults.clear()
    assert verdicts(caption())["pass"] == PHOTOS
    assert set(server.billed.values()) == {1}


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "invalid_api_key", "does not accept the key"),
        (404, "model_not_found", "does not know the model"),
        (402, None, "has no quota left"),
    ],
)
def test_what_no_waiting_mends_is_one_sentence(caption, server, status, code, said):
    server.faults.extend([lambda handler, body: handler.fail(status, "no", code)] * 99)
    with pytest.raises(UserError, match=said):
        caption(concurrency=1)
    assert len(server.bodies) == 1


def test_answers_that_cannot_be_used_are_asked_again_with_the_reason_and_counted(caption, server, manifest):
    good = json.dumps(answer_for(manifest.table("rgb", "train")[0]["image"]["bytes"]))
    server.faults.extend([content("The image shows a person."), content(good[:-40]), content(good)])
    made = caption(concurrency=1)
    assert verdicts(made)["pass"] == PHOTOS
    assert len(server.bodies) == PHOTOS + 2
    said = server.bodies[1]["messages"]
    assert said[1] == {"role": "assistant", "content": "The image shows a person."}
    assert "holds no JSON object" in said[2]["content"]
    with Ledger(made.path / FILE) as ledger:
        assert ledger.spent() == 0.0  # without prices nobody knows


def test_a_question_is_given_up_after_its_attempts_and_never_paid_again(caption, server):
    server.faults.extend([content('{"captions": {}}')] * 2)
    made = caption(concurrency=1, attempts=2)
    assert rows(made)[0]["verdict"] == "error"
    assert rows(made)[0]["reason"] == (
        "no usable answer in 2 attempts: the last one the caption 'descriptive' is missing"
    )
    asked = len(server.bodies)
    assert caption(concurrency=1, attempts=2).checksum == made.checksum
    assert len(server.bodies) == asked
    assert verdicts(caption(concurrency=1, attempts=3))["pass"] == PHOTOS
    assert len(server.bodies) == asked + 1


def test_fences_words_and_commas_around_the_answer_are_mended(caption, server, manifest):
    good = json.dumps(answer_for(manifest.table("rgb", "train")[0]["image"]["bytes"]))
    server.faults.append(content(f"Here you are:\n```json\n{good[:-1]},}}\n```\nAnything else?"))
    assert verdicts(caption(concurrency=1))["pass"] == PHOTOS
    assert len(server.bodies) == PHOTOS


def test_an_answer_cut_off_gets_more_room(caption, server):
    server.faults.append(content('{"regions": {', finish_reason="length"))
    caption(concurrency=1, max_tokens=300)
    assert [body["max_tokens"] for body in server.bodies[:3]] == [300, 600, 300]
    assert len(server.bodies[1]["messages"]) == 1


def test_refusals_are_rows_with_the_reason_and_not_asked_again(caption, server):
    message = {"role": "assistant", "content": None, "refusal": "I can't describe people."}
    server.faults.append(content("", message=message))
    made = caption(concurrency=1)
    assert rows(made)[0]["reason"] == "the model refused: I can't describe people."
    caption(concurrency=1)
    assert len(server.bodies) == PHOTOS


def test_a_server_without_schemas_is_asked_with_less(caption, server):
    def old(handler, body):
        if body.get("response_format", {}).get("type") == "json_schema":
            return handler.fail(400, "response_format json_schema is not supported")
        if "max_tokens" in body:
            return handler.fail(400, "Unsupported parameter: use max_completion_tokens instead")
        return False

    server.faults.extend([old] * 100)
    made = caption(concurrency=1)
    assert verdicts(made)["pass"] == PHOTOS
    last = server.bodies[-1]
    assert last["response_format"] == {"type": "json_object"}
    assert last["max_completion_tokens"] == 900
    assert len(server.bodies) == PHOTOS + 2


def test_requests_at_once_keep_to_the_limit(caption, server):
    server.delay = 0.02
    caption(concurrency=4)
    assert 2 <= server.most_at_once <= 4


def test_pace_and_retry_after():
    async def turns(pace, count):
        began = time.monotonic()
        await asyncio.gather(*(pace.turn() for _ in range(count)))
        return time.monotonic() - began

    assert asyncio.run(turns(Pace(6000), 11)) >= 0.1
    held = Pace()
    held.hold(0.05)
    held.hold(0.01)  # a shorter demand does not end a longer one
    assert asyncio.run(turns(held, 3)) >= 0.05
    assert retry_after({"Retry-After": "3"}) == 3.0
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}) > 3000
    assert retry_after({"retry-after": "soon"}) is None


# money


def test_max_cost_is_a_hard_stop_over_all_runs(caption, server):
    limit = 8.5 * ONE_ANSWER
    made = caption(Allowance(max_cost=limit), **PRICES, max_tokens=ANSWER_TOKENS)
    billed = sum(server.billed.values())
    assert billed * ONE_ANSWER <= limit
    assert billed >= 6  # a request is reserved at a tenth more than the largest one so far
    reasons = made.tables["text-openai"].reasons
    assert reasons["not asked: --max-cost is reached"] == PHOTOS - billed
    caption(Allowance(max_cost=limit), **PRICES, max_tokens=ANSWER_TOKENS)
    assert sum(server.billed.values()) * ONE_ANSWER <= limit
    caption(Allowance(max_cost=1.0), **PRICES)
    assert set(server.billed.values()) == {1}
    assert len(server.billed) == PHOTOS
    with Ledger(made.path / FILE) as ledger:
        assert ledger.spent() == pytest.approx(PHOTOS * ONE_ANSWER)


def test_max_cost_without_prices_says_what_to_give(caption, server):
    with pytest.raises(UserError, match="--max-cost needs prices"):
        caption(Allowance(max_cost=1.0))
    assert not server.bodies


def test_limit_asks_so_many_and_the_next_run_goes_on(caption, server):
    made = caption(Allowance(limit=5))
    assert sum(server.billed.values()) == 5
    assert made.tables["text-openai"].reasons["not asked: --limit is reached"] == PHOTOS - 5
    made = caption(Allowance(limit=5))
    assert sum(server.billed.values()) == 10
    assert verdicts(caption())["pass"] == PHOTOS


def test_dry_run_tells_and_does_nothing(manifest, caption, server):
    values = {"model": "m", "base_url": server.url, **PRICES}
    estimate = estimate_step(manifest.path, "caption", "openai", values)
    assert (estimate.rows, estimate.known, estimate.questions) == (PHOTOS, 0, PHOTOS)
    assert "guess" in estimate.basis
    assert not server.bodies
    assert not (manifest.path / FILE).exists()
    caption(Allowance(limit=4), **PRICES)
    estimate = estimate_step(manifest.path, "caption", "openai", values)
    assert (estimate.known, estimate.questions) == (4, PHOTOS - 4)
    assert estimate.cost == pytest.approx((PHOTOS - 4) * ONE_ANSWER)
    assert estimate.spent == pytest.approx(4 * ONE_ANSWER)
    arguments = ["caption", str(manifest.path), "--method", "openai", "--set", "model=m", "--dry-run"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert f"{PHOTOS - 4} questions" in result.output
    assert "their cost is unknown" in result.output


def test_the_command_stops_at_max_cost_with_code_1(manifest, server):
    arguments = ["caption", str(manifest.path), "--method", "openai", "--set", "model=m"]
    arguments += ["--set", f"base_url={server.url}", "--set", "input_price=1", "--set", "output_price=2"]
    arguments += ["--max-failed", "1"]
    result = CliRunner().invoke(app, [*arguments, "--max-cost", str(9 * ONE_ANSWER)])
    assert result.exit_code == 1
    assert "were not asked about, because --max-cost is reached" in result.stderr
    assert CliRunner().invoke(app, arguments).exit_code == 0


def test_the_command_tells_of_questions_that_were_not_answered(manifest, server):
    """Too few to end the run: as in a first try with --limit 2 of a service that is down."""
    server.faults.extend([broken] * 500)
    arguments = ["caption", str(manifest.path), "--method", "openai", "--set", "model=m", "--max-failed", "1"]
    result = CliRunner().invoke(app, [*arguments, "--set", f"base_url={server.url}", "--limit", "2"])
    assert result.exit_code == 1
    assert "2 rows of 'text-openai' were not answered (HTTP 503: overloaded): run the same command" in result.stderr


# egress


def test_pixels_leave_only_where_both_allow_it(manifest, run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    values = {"model": "m", "base_url": "http://captions.invalid/v1"}
    allowed = Run(run.engine, progress=False, allowance=Allowance(egress=True))
    with pytest.raises(UserError, match=r"the terms of noise do not allow sending its images to captions\.invalid"):
        run_step(manifest.path, "caption", "openai", values, run=allowed)
    policy = manifest.info.source.policy | {"egress": True}
    source = manifest.info.source.model_copy(update={"policy": policy})
    from reidsynth.manifest import write_info

    write_info(manifest.path, manifest.info.model_copy(update={"source": source}))
    with pytest.raises(UserError, match="add --allow-egress"):
        run_step(manifest.path, "caption", "openai", values, run=run)
    assert "text-openai" not in open_manifest(manifest.path).tables
    assert not (manifest.path / ".ledger").exists()


def test_a_refused_run_takes_no_answers_away(caption, manifest, server, tmp_path, monkeypatch):
    caption()
    paid = sum(server.billed.values())
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(UserError, match="do not allow sending"):  # another question: nothing is in the ledger of it
        caption(base_url="http://captions.invalid/v1", detail="high")
    with Ledger(manifest.path / FILE) as ledger:
        assert ledger.spent() == 0.0  # no prices were given
        assert ledger._db.execute("SELECT COUNT(*) FROM attempts WHERE state = 'answered'").fetchone()[0] == paid
    with pytest.raises(UserError, match="do not allow sending"):
        caption(base_url="http://captions.invalid/v1", detail="low", ledger=str(tmp_path / "of" / "all.sqlite"))
    assert not (tmp_path / "of").exists()


def test_a_key_is_needed_beyond_this_machine(manifest, run):
    values = {"model": "m", "base_url": "https://captions.invalid/v1", "key_variable": "CAPTIONS_KEY"}
    with pytest.raises(UserError, match="CAPTIONS_KEY holds no key"):
        run_step(manifest.path, "caption", "openai", values, run=run)
    with pytest.raises(UserError, match="parameter 'model' is missing"):
        run_step(manifest.path, "caption", "openai", {}, run=run)
    with pytest.raises(UserError, match="is no address"):
        run_step(manifest.path, "caption", "openai", {"model": "m", "base_url": "here"}, run=run)
