"""The Ray engine: results in order, lost workers and nodes, the bytes of the local engine."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import cluster_blocks
import pytest
from test_resume import tree
from typer.testing import CliRunner

from reidsynth import clusters
from reidsynth.cli import app
from reidsynth.clusters import RayEngine
from reidsynth.engines import LocalEngine, engine_of
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.jobs import Run
from reidsynth.pipeline import run_step

pytest.importorskip("ray")

SOURCE = {"train": 110, "val": 0, "test": 4, "observations": 2, "height": 64, "width": 32}
RECIPE = """
recipe: 1
name: killed
source: {name: demo, train: 700, val: 0, test: 20, observations: 2, height: 64, width: 32}
steps:
  - {step: remove-background, method: grabcut}
  - {step: build-sketch, method: lineart-standard}
  - {step: build-ir, method: channel-augmentation}
  - {step: caption, method: template}
"""


@pytest.fixture(scope="module")
def engine():
    with RayEngine(2) as opened:
        yield opened


def make(folder: Path, on: Run) -> dict[str, bytes]:
    ingest(folder, "demo", SOURCE, run=on)
    run_step(folder, "build-ir", "channel-augmentation", {}, run=on)
    return tree(folder)


def test_bytes_are_those_of_the_local_engine(engine, tmp_path):
    here = make(tmp_path / "here", Run(LocalEngine(1), progress=False))
    assert make(tmp_path / "there", Run(engine, progress=False)) == here


def test_results_come_in_order_with_bounded_look_ahead(engine):
    given = []

    def tasks():
        for number in range(40):
            given.append(number)
            yield number

    found = []
    for square in engine.imap(cluster_blocks.square, tasks(), fetch=lambda number: number + 1):
        found.append(square)
        assert len(given) <= len(found) + 3 * engine.workers
    assert found == [number * number for number in range(1, 41)]


def test_what_a_worker_loaded_stays_loaded(engine):
    first = set(engine.imap(cluster_blocks.where, range(12)))
    assert len(first) <= 2
    assert set(engine.imap(cluster_blocks.where, range(12))) <= first


def test_block_of_a_killed_worker_runs_again(engine, tmp_path):
    tasks = [(str(tmp_path), number) for number in range(20)]
    assert list(engine.imap(cluster_blocks.dies_once, tasks)) == list(range(20))
    assert (tmp_path / "died").exists()


def test_block_that_kills_every_worker_ends_in_a_sentence(engine, monkeypatch):
    monkeypatch.setattr(clusters, "RETRIES", 1)
    with pytest.raises(UserError, match="lost its worker 2 times"):
        list(engine.imap(cluster_blocks.deadly, range(4)))
    assert list(engine.imap(cluster_blocks.square, range(4))) == [0, 1, 4, 9]


def test_errors_of_a_worker_are_those_of_the_caller(engine):
    with pytest.raises(UserError, match=r"^number 3 is wrong: leave it out$"):
        list(engine.imap(cluster_blocks.complains, range(9)))


def listening(engine) -> list[str]:
    """Addresses that processes of the test's cluster listen at."""
    import psutil

    children = psutil.Process().children(recursive=True)
    found = [c for child in children for c in child.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    return [c.laddr.ip for c in found]


def test_cluster_of_our_own_is_on_loopback(engine):
    list(engine.imap(cluster_blocks.square, range(2)))
    found = listening(engine)
    assert found
    assert {address.removeprefix("::ffff:") for address in found} == {"127.0.0.1"}


def test_nothing_answers():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match=f"no Ray cluster answers at '{address}'.*ray start --head"):
            list(RayEngine(1, address=address).imap(cluster_blocks.square, [1]))


def test_options_that_cannot_be(tmp_path, monkeypatch):
    for arguments, told in (
        (("--address", "127.0.0.1:6379"), "--address mean a Ray cluster: add --engine ray"),
        (("--engine", "ray", "--gpus-per-worker", "1.5"), "between 0 and 1, or a whole number"),
        (("--engine", "ray", "--workers", "0"), "--workers is 0"),
        (("--engine", "ray", "--address", "somewhere"), "give host:port, or ray://host:port"),
    ):
        result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "m"), *arguments])
        assert result.exit_code == 2, result.output
        assert told in result.output
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"please install reidsynth\[ray\]"):
        engine_of("ray", None)
    assert not (tmp_path / "m/manifest.json").exists()
