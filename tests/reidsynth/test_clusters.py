"""The Ray engine: results in order, lost workers and nodes, the bytes of the local engine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import cluster_blocks
import pytest
from manifest_files import tree
from typer.testing import CliRunner

from reidsynth import clusters
from reidsynth.cli import app
from reidsynth.clusters import RayEngine
from reidsynth.engines import LocalEngine, engine_of
from reidsynth.errors import UserError
from reidsynth.ingest import ingest
from reidsynth.jobs import Run
from reidsynth.nodes import Actor, check_address, deciding_versions
from reidsynth.pipeline import run_step

pytest.importorskip("ray")

SOURCE = {"train": 110, "val": 0, "test": 4, "observations": 2, "height": 64, "width": 32}
RECIPE = """
recipe: 1
name: killed
source: {name: demo, train: 150, val: 0, test: 600, observations: 2, height: 64, width: 32}
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
    first = set()
    deadline = time.monotonic() + 120
    while len(first) < 2:  # one may still be starting, or starting again after another test
        assert time.monotonic() < deadline, "the second worker never took a block"
        first |= set(engine.imap(cluster_blocks.where, range(12)))
    assert len(first) == 2
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


def test_another_engine_of_this_process_waits_its_turn(engine):
    list(engine.imap(cluster_blocks.square, range(2)))
    with RayEngine(1) as second, pytest.raises(UserError, match="connected to a Ray cluster already"):
        list(second.imap(cluster_blocks.square, range(2)))
    assert list(engine.imap(cluster_blocks.square, range(3))) == [0, 1, 4]


def test_worker_with_other_packages_refuses():
    home = deciding_versions()
    Actor(home, "head").ready()
    with pytest.raises(UserError, match=r"has pillow .* and not 1\.0 as 'head' has"):
        Actor(home | {"pillow": "1.0"}, "head").ready()


def test_nothing_answers():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match=f"no Ray cluster answers at '{address}'.*ray start --head"):
            list(RayEngine(1, address=address).imap(cluster_blocks.square, [1]))


@pytest.mark.parametrize("address", ["..:6379", f"{'a' * 70}.example:1"])
def test_a_host_that_cannot_be_is_one_sentence(address):
    with pytest.raises(UserError, match="no Ray cluster answers at"):
        check_address(address)


def test_a_share_of_a_gpu_on_a_machine_without_is_refused_at_once(monkeypatch):
    """Also where the number of workers is given: a cluster of one machine gets no GPU by waiting."""
    import ray

    monkeypatch.setattr(RayEngine, "_start", lambda *_: None)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    said = r"this machine has not a CPU and 0\.5 GPU for a worker: choose another --gpus-per-worker"
    for workers in (2, None):
        with RayEngine(workers, gpus_per_worker=0.5) as engine, pytest.raises(UserError, match=said):
            list(engine.imap(abs, range(3)))


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


@contextmanager
def two_nodes(first: dict[str, float], second: dict[str, float]):
    """A cluster of two nodes on this machine, each with its own processes and object store."""
    import ray
    from ray.cluster_utils import Cluster

    from reidsynth.nodes import own_cluster

    with own_cluster(ray):
        cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **first})
        try:
            yield cluster, cluster.add_node(**second)
        finally:
            cluster.shutdown()


def until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.1)
    return found


def working(node) -> list[int]:
    """Processes of the workers that a node runs now."""
    import psutil

    raylet = next(info[0].process.pid for kind, info in node.all_processes.items() if kind == "raylet")
    children = psutil.Process(raylet).children(recursive=True)
    return [child.pid for child in children if "Actor.run" in " ".join(child.cmdline())]


@contextmanager
def command(recipe: Path, out: Path, *options: str):
    """A build in a process of its own, which ends with the block."""
    arguments = [sys.executable, "-m", "reidsynth", "build", str(recipe), "--out", str(out), *options]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as build:
        try:
            yield build
        finally:
            build.kill()


def finish(recipe: Path, out: Path, *options: str) -> None:
    with command(recipe, out, *options) as build:
        assert build.wait(300) == 0, build.stderr.read().decode()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A recipe, and what one process makes of it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE)
    finish(recipe, folder / "m", "--workers", "1")
    return recipe, tree(folder / "m")


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True], ids=["to the end", "driver killed, rest on the local engine"])
def test_killed_worker_and_lost_node_change_no_byte(tmp_path, undisturbed, killed):
    recipe, expected = undisturbed
    out = tmp_path / "disturbed"
    with (
        two_nodes({"num_cpus": 1}, {"num_cpus": 1}) as (cluster, second),
        command(recipe, out, "--engine", "ray", "--address", cluster.address) as build,
    ):
        until(lambda: (out / "mask-grabcut").is_dir())
        os.kill(until(lambda: working(cluster.head_node))[0], signal.SIGKILL)
        until(lambda: working(second))
        assert build.poll() is None
        cluster.remove_node(second, allow_graceful=False)
        assert not list(out.glob("mask-grabcut/train*.parquet")), "both were to be lost before a shard was finished"
        if killed:
            until(lambda: list(out.glob("mask-grabcut/train*.parquet")))
            assert not list(out.glob("mask-grabcut/test*.parquet"))
            build.kill()
            assert build.wait() == -signal.SIGKILL
        else:
            assert build.wait(300) == 0, build.stderr.read().decode()
    if killed:
        finish(recipe, out, "--workers", "2")
    assert tree(out) == expected


def busy(processes) -> list:
    """All of them once a worker among them is at work."""
    import psutil

    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if "Actor.run" in " ".join(process.cmdline()):
                return processes
    return []


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_command_leaves_no_process(tmp_path, how):
    import psutil

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    with command(recipe, tmp_path / "m", "--engine", "ray", "--workers", "2") as build:
        below = until(lambda: busy(psutil.Process(build.pid).children(recursive=True)))
        build.send_signal(how)
        assert build.wait(60) != 0
    # After a SIGKILL two agents of Ray look for their head node for a minute before they end.
    _, left = psutil.wait_procs(below, timeout=180 if how == signal.SIGKILL else 20)
    assert not left


@pytest.mark.slow
def test_workers_fit_the_nodes_and_run_the_callers_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the driver runs is searched first
    with two_nodes({"num_cpus": 8, "num_gpus": 1}, {"num_cpus": 2, "num_gpus": 0}) as (cluster, _):
        with RayEngine(address=cluster.address) as engine:
            assert engine.workers == 10
        with RayEngine(address=cluster.address, gpus_per_worker=0.25) as engine:
            assert engine.workers == 4
        with RayEngine(address=cluster.address, gpus_per_worker=2) as engine, pytest.raises(UserError, match="2 GPU"):
            engine.workers  # noqa: B018 - asks the cluster
        with RayEngine(2, address=cluster.address) as engine:
            assert all("py_modules" in path for path in engine.imap(cluster_blocks.code_path, range(4)))
        with (
            RayEngine(1, address=cluster.address, gpus_per_worker=2, patience=3) as engine,
            pytest.raises(UserError, match="gave no worker for 3 seconds"),
        ):
            list(engine.imap(abs, range(3)))
