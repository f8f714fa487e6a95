"""Memory and time of reading data sets of millions of rows, by their number.

    python benchmarks/streaming.py --rows 100000 300000
    python benchmarks/streaming.py --listing --rows 30000 300000 1000000

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

| ingest of synth-pedes | rows | ingest, s | peak MB | again, s | peak MB |
|---|---|---|---|---|---|
| | 10,000 | 17.5 | 235 | 1.1 | 248 |
| | 30,000 | 49.3 | 288 | 2.5 | 292 |
| commit bdaf798 | 100,000 | | 207 | | 217 |
| commit bdaf798 | 300,000 | | 236 | | 249 |

The last two are of an earlier commit, with a larger index cache and fewer checks of captions, and were not repeated
since, so growth from 30,000 rows on is not known for this code. While rows are read the resident memory stays between
175 and 177 MB (a run of 14,000 rows); what is added comes at the end, when shards are counted and the preview is
written.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

CROPS = 64
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
    parser.add_argument("--listing", action="store_true", help="don't ingest")
    parser.add_argument("--folder", type=Path, default=None, help="where to draw; a temporary folder by default")
    options = parser.parse_args()
    for rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            draw(Path(folder), rows, images=not options.listing)
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
