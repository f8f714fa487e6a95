"""Captions by a service: answers a second, and what random kills cost.

The service is that of the tests, on loopback, with a delay for each answer; photographs are drawn, 128x64. Every answer
is on the disk (SQLite, synchronous=FULL) before it counts.

    python benchmarks/captions.py            # answers a second
    python benchmarks/captions.py --kills 20 # SIGKILLs while questions are on their way

Measured on 2 shared cores under load (so that only the CPU time says much), 400 photographs, .05 s an answer:
5.9 answers/s one at a time with 10.4 ms CPU an answer (the server's share included), 28 answers/s with 6.7 ms eight at
a time, 26 answers/s with 6.8 ms at 32: beyond eight, that machine had no time left. A second run over the same
photographs asks nothing. Killed 20 times while asking and 20 times with batches under way
(`pytest -m slow tests/reidsynth/test_captions_batches.py`), the table came out as the undisturbed one, byte for byte,
and 50 photographs had 50 bills. For single questions that rests on a service that knows idempotency keys: another one
may bill again what was on its way at a kill, and the ledger counts that as spent.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/reidsynth"))

from caption_server import CaptionServer

from reidsynth.engines import LocalEngine
from reidsynth.ingest import ingest
from reidsynth.jobs import Run
from reidsynth.manifest import Manifest
from reidsynth.pipeline import run_step
from reidsynth.steps.captions.ledger import FILE, Ledger

PEOPLE = 200


def drawn(folder: Path, people: int = PEOPLE) -> Manifest:
    """A manifest of two photographs a person."""
    values = {"train": people, "val": 0, "test": 0, "observations": 2, "height": 128, "width": 64}
    return ingest(folder, "demo", values, run=Run(LocalEngine(1), progress=False))


def throughput(folder: Path) -> None:
    """Ask for everything at several widths; then once more, when all is known."""
    manifest = drawn(folder / "m")
    for at_once in (1, 8, 32):
        with CaptionServer(delay=0.05) as server:
            values = {"model": "m", "base_url": server.url, "concurrency": at_once}
            values |= {"variant": f"w{at_once}", "ledger": str(folder / f"{at_once}.sqlite")}
            began, cpu = time.perf_counter(), time.process_time()
            run_step(manifest.path, "caption", "openai", values, run=Run(LocalEngine(1), progress=False))
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            asked = sum(server.billed.values())
            each = f"{1000 * cpu / asked:.1f} ms CPU an answer, the server's included"
            print(f"{at_once:3d} at once: {asked / seconds:6.1f} answers/s, {each}")
            began = time.perf_counter()
            run_step(manifest.path, "caption", "openai", values, run=Run(LocalEngine(1), progress=False))
            again = sum(server.billed.values()) - asked
            print(f"    again, all known: {time.perf_counter() - began:.1f} s, {again} asked")


def kills(folder: Path, count: int, idempotent: bool) -> None:
    """Kill the command at random moments between two answers, and count what was billed."""
    manifest = drawn(folder / "m", people=60)
    rng = random.Random(0)
    environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    with CaptionServer(idempotent=idempotent, delay=0.02) as server:
        command = [sys.executable, "-m", "reidsynth", "caption", str(manifest.path), "--method", "openai"]
        command += ["--set", "model=m", "--set", f"base_url={server.url}", "--set", "concurrency=4"]
        killed = 0
        while killed < count:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
            target = sum(server.billed.values()) + rng.randint(1, max(1, 120 // count))
            while process.poll() is None and sum(server.billed.values()) < target:
                time.sleep(0.001)
            time.sleep(rng.uniform(0.0, 0.02))
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
            if process.returncode == 0:
                break
        last = subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=False)
        bills = list(server.billed.values())
        print(f"{killed} kills, a service {'with' if idempotent else 'without'} idempotency keys:")
        billed = f"{len(bills)} photographs, {sum(bills)} bills, {server.replayed} sent again unbilled"
        print(f"    exit {last.returncode}, {billed}")
    with Ledger(manifest.path / FILE) as ledger:
        print(f"    requests that the ledger counts as perhaps billed: {ledger.lost()}")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not chosen.kills:
            throughput(Path(folder))
            return
        for idempotent in (True, False):
            kills(Path(folder) / str(idempotent), chosen.kills, idempotent)


if __name__ == "__main__":
    main()
