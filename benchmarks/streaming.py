"""Memory and time of reading data sets of millions of rows, by their number.

    python benchmarks/streaming.py --rows 100000 300000
    python benchmarks/streaming.py --listing --rows 30000 300000 1000000
    python benchmarks/streaming.py --steps --rows 100000
    python benchmarks/streaming.py --steps --rows 20000 --engine ray

SYNTH-PEDES: draws an annotation of the official form (descriptions about as long as the published example's, in the
order of person numbers) whose images are links to 64 drawn crops of 128x64, ingests it with one worker, and prints the
peak resident memory and the CPU seconds of its parts: `index` (reading and sorting the annotation), `keys` (content
keys of all shards), `ingest` (keys, reading, checking, gates, writing), `again` (a second run, which finds everything
done). With `--listing` only the first two, without images. FineGPR: as many empty files with the data set's names;
listing them and the keys of all shards. Each number of rows in a process of its own.

Measured on 2 cores that others used as well; the drawn folders lie on ext4.

| `--listing` | rows | list or index, s | peak MB | keys, s | peak MB |
|---|---|---|---|---|---|
| synth-pedes | 30,000 | 0.3 | 91 | 0.8 | 107 |
| synth-pedes | 300,000 | 3.4 | 101 | 8.7 | 114 |
| finegpr | 31,752 | 0.1 | 87 | 0.8 | 93 |
| finegpr | 301,644 | 1.1 | 88 | 7.6 | 95 |

Extrapolated from the second row, not measured: the 4.8 million rows of the real annotation need about a minute for the
index and two and a half for the keys, of one core.

With `--steps`, two workers: peaks from the beginning of ingest or step until so many rows were written. The crops are
64 of 128x64, linked.

| `--steps`, local engine, 100,000 rows | this process, MB | larger worker, MB |
|---|---|---|
| ingest, 10,000 rows | 206 | 175 |
| ingest, 50,000 rows | 206 | 177 |
| ingest, 100,000 rows | 206 | 177 |
| ingest, to the end | 215 | 177 |
| build-ir channel-augmentation, 10,000 rows | 211 | 201 |
| build-ir channel-augmentation, 50,000 rows | 211 | 201 |
| build-ir channel-augmentation, 100,000 rows | 211 | 201 |
| build-ir channel-augmentation, to the end | 215 | 201 |
| build-sketch lineart-standard, 10,000 rows | 210 | 212 |
| build-sketch lineart-standard, 50,000 rows | 213 | 212 |
| build-sketch lineart-standard, 100,000 rows | 213 | 212 |
| build-sketch lineart-standard, to the end | 224 | 212 |

The same with 10,000 rows in all: 189, 190 and 197 MB at the ends, workers 175, 198 and 208. So ten times the rows cost
27 MB. Until the preview read every table in order, with one shard open and one row group kept, the ends of 100,000
rows stood at 399, 441 and 514 MB, those of 10,000 at 217, 228 and 246.

| `--steps --engine ray`, 20,000 rows | this process, MB | larger worker, MB |
|---|---|---|
| ingest, 10,000 rows | 190 | 233 |
| ingest, to the end | 255 | 234 |
| build-ir channel-augmentation, 10,000 rows | 246 | 254 |
| build-ir channel-augmentation, to the end | 257 | 254 |
| build-sketch lineart-standard, 10,000 rows | 251 | 260 |
| build-sketch lineart-standard, to the end | 267 | 260 |

Workers share 9 MB of Ray's object store at most; Ray's own processes on this machine are not in the table. What the
command itself spends on sending rows, fetching results and writing them, on 12,000 rows (`--rows 12000 --engine ray`):
5.7 CPU seconds for ingest, start of the cluster included, 1.0 for channel-augmentation, 1.1 for lineart-standard.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil

CROPS = 64
STEPS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("build-ir", "channel-augmentation", {}),
    ("build-sketch", "lineart-standard", {"background": "keep"}),
)
IMAGES_PER_PERSON = 15  # 4,791,711 / 312,321


def draw(root: Path, rows: int, *, images: bool = True) -> None:
    """An annotation of the official form, and its images."""
    from reidsynth.images import encode

    base = root / "SYNTH-PEDES"
    (base / "crops").mkdir(parents=True)
    draws = np.random.default_rng(0)
    for number in range(CROPS):
        coarse = draws.integers(0, 255, (8, 4, 3), dtype=np.uint8)
        pixels = np.repeat(np.repeat(coarse, 16, axis=0), 16, axis=1)
        (base / f"crops/{number}.jpg").write_bytes(encode(pixels, "jpeg"))
    with (base / "synthpedes_dataset.json").open("w", encoding="utf-8") as file:
        file.write("[\n")
        for number in range(rows):
            pid, index = divmod(number, IMAGES_PER_PERSON)
            path = f"Part{1 + pid * 11 * IMAGES_PER_PERSON // rows}/{pid}/{index + 1}.jpg"
            if images:
                image = base / path
                image.parent.mkdir(parents=True, exist_ok=True)
                os.link(base / f"crops/{number % CROPS}.jpg", image)
            row = {
                "id": pid,
                "file_path": path,
                "attributes": ["man,black hair,black shirt,pink shorts,black shoes,unknown"],
                "captions": [f"Person {pid}: " + "a sentence about what this person wears today, " * 2 + "and more."]
                * 2,
                "prompt_caption": ["A man with black hair wears a black shirt, pink shorts and black shoes."],
            }
            file.write((",\n" if number else "") + json.dumps(row, indent=4))
        file.write("\n]\n")


def measure(root: str, out: str) -> dict[str, float]:
    """Ingest in this process; CPU seconds of the parts and peak resident megabytes after them."""
    from reidsynth import ingest as module
    from reidsynth.engines import LocalEngine
    from reidsynth.jobs import Run
    from reidsynth.sources.synth_pedes import SynthPedes

    seconds: dict[str, float] = {}
    start = time.process_time()
    rows = SynthPedes(root=Path(root)).records("train")
    seconds["index"] = time.process_time() - start
    seconds["after index MB"] = _peak()
    del rows
    plain = module._source_jobs

    def timed(*arguments: object) -> object:
        begun = time.process_time()
        jobs = plain(*arguments)  # type: ignore[arg-type]
        seconds["keys"] = time.process_time() - begun - seconds["index"]
        return jobs

    module._source_jobs = timed  # type: ignore[assignment]
    for name in ("ingest", "again"):
        start = time.process_time()
        module.ingest(Path(out), "synth-pedes", {"root": root}, run=Run(LocalEngine(1), progress=False))
        seconds[name] = time.process_time() - start
        seconds[f"after {name} MB"] = _peak()
    return seconds


def measure_listing(source: str, root: str) -> dict[str, float]:
    """List a data set in this process, and make the keys of its shards."""
    from reidsynth import ingest as module
    from reidsynth.engines import LocalEngine
    from reidsynth.jobs import Run
    from reidsynth.sources import build_source

    built = build_source(source, {"root": root})
    start = time.process_time()
    rows = len(built.records("train"))  # type: ignore[arg-type]
    seconds = {"rows": float(rows), "index": time.process_time() - start, "after index MB": _peak()}
    start = time.process_time()
    module._source_jobs(built, "train", Run(LocalEngine(1), progress=False))
    return seconds | {"keys": time.process_time() - start, "after keys MB": _peak()}


class Watched:
    """An engine whose results are counted; at some counts the peaks of memory are noted.

    Args:
        engine: that works.
        marks: numbers of rows.
    """

    def __init__(self, engine: Any, marks: Sequence[int]) -> None:  # noqa: ANN401 - any engine
        self.engine, self.marks = engine, marks
        self.workers = engine.workers
        self.peaks: dict[str, tuple[float, float, float]] = {}
        self.label, self._rows = "", 0

    def imap(self, function: Any, tasks: Any, *, fetch: Any = None) -> Any:  # noqa: ANN401 - see Engine
        """As the engine does."""
        for result in self.engine.imap(function, tasks, fetch=fetch):
            before, self._rows = self._rows, self._rows + next(iter(result.values())).num_rows
            for mark in self.marks:
                if before < mark <= self._rows:
                    self.note(f"{mark:,} rows")
            yield result

    def begin(self, label: str) -> None:
        """Peaks count from here on."""
        self.label, self._rows = label, 0
        for pid in (os.getpid(), *_workers()):
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def note(self, when: str) -> None:
        """Peaks of this process and of the largest worker so far, in MB, and what the workers share with each other."""
        workers = [_resident(pid) for pid in _workers()] or [(0.0, 0.0)]
        peak, shared = max(workers)
        self.peaks[f"{self.label} {when}"] = (_resident(os.getpid())[0], peak, shared)


def _workers() -> list[int]:
    """Processes below this one that work on rows."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            line = " ".join(process.cmdline())
            if "spawn_main" in line or "ray::" in line:
                found.append(process.pid)
    return found


def _resident(pid: int) -> tuple[float, float]:
    """Peak resident memory of a process and what it shares now, in MB."""
    with contextlib.suppress(FileNotFoundError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        values = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmHWM", "RssShmem"))}
        return int(values.get("VmHWM", 0)) / 1024, int(values.get("RssShmem", 0)) / 1024
    return 0.0, 0.0


def measure_steps(root: str, out: str, engine: str, workers: int) -> dict[str, tuple[float, float, float]]:
    """Ingest and run two steps in this process and its workers."""
    from reidsynth.engines import engine_of
    from reidsynth.ingest import ingest
    from reidsynth.jobs import Run
    from reidsynth.pipeline import run_step

    with engine_of(engine, workers) as inner:
        watched = Watched(inner, (10_000, 50_000, 100_000))
        run = Run(watched, progress=False)  # type: ignore[arg-type] # it is opened and closed here
        for name, method, parameters in (("ingest", "", {}), *STEPS):
            watched.begin(method or name)
            begun, spent = time.monotonic(), time.process_time()
            if method:
                run_step(Path(out), name, method, parameters, run=run)
            else:
                ingest(Path(out), "synth-pedes", {"root": root}, run=run)
            took, own = time.monotonic() - begun, time.process_time() - spent
            watched.note(f"to the end ({took:.0f} s, {own:.1f} CPU s of this process)")
    return watched.peaks


def draw_names(root: Path, rows: int) -> None:
    """Empty files with FineGPR's names."""
    names = [f"c{c:02d}_w{w:02d}_l{i:02d}_p01.jpg" for c in range(1, 37) for w in range(1, 8) for i in range(1, 8)]
    for pid in range(1, -(-rows // len(names)) + 1):
        folder = root / f"FineGPR/{pid:04d}"
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{pid:04d}_{name}").touch()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=(50_000, 100_000, 300_000))
    parser.add_argument("--steps", action="store_true", help="ingest, then infrared images and sketches")
    parser.add_argument("--engine", default="local", help="of --steps")
    parser.add_argument("--workers", type=int, default=2, help="of --steps")
    parser.add_argument("--listing", action="store_true", help="don't ingest")
    parser.add_argument("--folder", type=Path, default=None, help="where to draw; a temporary folder by default")
    options = parser.parse_args()
    for rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            draw(Path(folder), rows, images=not options.listing)
            if options.steps:
                peaks = measure_steps(folder, f"{folder}/manifest", options.engine, options.workers)
                print(f"| {options.engine}, {rows:,} rows | this process, MB | largest worker, MB | of it shared |")
                print("|---|---|---|---|")
                for label, values in peaks.items():
                    print(f"| {label} | " + " | ".join(f"{value:.0f}" for value in values) + " |", flush=True)
                continue
            if options.listing:
                _tell("synth-pedes", _alone(measure_listing, "synth-pedes", folder))
            else:
                _tell(f"synth-pedes, {rows} rows", _alone(measure, folder, f"{folder}/manifest"))
        if options.listing:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                draw_names(Path(folder), rows)
                _tell("finegpr", _alone(measure_listing, "finegpr", folder))


def _alone(function: Callable[..., dict[str, float]], *arguments: str) -> dict[str, float]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _tell(what: str, found: dict[str, float]) -> None:
    print(f"{what}: " + ", ".join(f"{name} {value:.1f}" for name, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
