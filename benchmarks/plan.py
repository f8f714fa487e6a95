"""What `reidsynth plan` tells beside what a build then takes: `python benchmarks/plan.py [--rows 1400] [--probe 64]`.

The recipe is `manifests/demo.yaml` with fewer people. Plan and build each run in a fresh process with one worker, and
both are measured in CPU seconds, so that others on the machine don't count.

Measured on an idle machine with 2 cores:

| 1400 rows, probe of 64 | planned, CPU s | built, CPU s | off by |
|---|---|---|---|
| ingest demo | 20.7 | 18.0 | +15 % |
| remove-background grabcut | 10.0 | 10.3 | -2 % |
| build-sketch lineart-standard | 1.8 | 2.0 | -8 % |
| build-ir channel-augmentation | 0.5 | 0.7 | -26 % |
| caption template | 1.0 | 1.3 | -22 % |
| all, one by one | 34.1 | 32.2 | +6 % |
| all, as `reidsynth build` | 34.1 | 32.7 | +4 % |

The plan itself took 2.5 CPU s. What the short steps lack is the end of each, 0.2 to 0.3 s here whatever they do:
counting verdicts, checksums, the card and the preview of 256 rows. A build does that once for steps that share a pass.
Before the first row was read twice, to tell what libraries take to load from what a row takes, the first line was off
by +65 % and the whole by +26 %.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

RECIPE = Path(__file__).parents[1] / "manifests/demo.yaml"


def _recipe(rows: int) -> Any:  # noqa: ANN401 - a recipe
    from reidsynth.recipe import load_recipe

    people = rows // 4
    return load_recipe(
        RECIPE, root=None, overrides=[f"train={people * 3 // 4}", "val=0", f"test={people - people * 3 // 4}"]
    )


def planned(rows: int, probe: int) -> dict[str, tuple[float, int]]:
    """Step -> CPU seconds and bytes, as the plan has them."""
    from reidsynth import plan
    from reidsynth import probe as probing

    clock = SimpleNamespace(perf_counter=time.process_time)
    plan.time = probing.time = clock  # type: ignore[attr-defined,assignment]
    begun = time.process_time()
    made = plan.plan(_recipe(rows), workers=1, probe=probe)
    spent = time.process_time() - begun
    told = {step.name: (step.seconds or 0.0, step.bytes) for step in made.steps}
    return told | {"the plan itself": (spent, 0)}


def built_at_once(rows: int) -> float:
    """CPU seconds of a build, whose steps share passes over the rows."""
    from reidsynth.engines import LocalEngine
    from reidsynth.jobs import Run
    from reidsynth.recipe import build

    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        build(_recipe(rows), Path(folder) / "m", run=Run(LocalEngine(1), progress=False))
        return time.process_time() - begun


def built(rows: int) -> dict[str, tuple[float, int]]:
    """Step -> CPU seconds and bytes of ingest and steps, one by one."""
    from reidsynth.engines import LocalEngine
    from reidsynth.ingest import ingest
    from reidsynth.jobs import Run
    from reidsynth.pipeline import run_step

    recipe, run = _recipe(rows), Run(LocalEngine(1), progress=False)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "m"
        begun = time.process_time()
        manifest = ingest(out, recipe.source.name, recipe.source.parameters, run=run)
        known = set(manifest.tables)
        own = sum(shard.bytes for name in ("captures", *known) for shard in manifest.info.shards_of(name))
        found[f"ingest {recipe.source.name}"] = (time.process_time() - begun, own)
        for entry in recipe.steps:
            begun = time.process_time()
            manifest = run_step(out, entry.step, entry.method, entry.parameters, run=run)
            spent = time.process_time() - begun
            table = next(name for name in manifest.tables if name not in known)
            known.add(table)
            size = sum(shard.bytes for shard in manifest.info.shards_of(table))
            found[f"{entry.step} {entry.method}"] = (spent, size)
    return found


def _alone(function: Any, *arguments: int) -> Any:  # noqa: ANN401 - a function of this file and its result
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1400)
    parser.add_argument("--probe", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    told, true = _alone(planned, options.rows, options.probe), _alone(built, options.rows)
    at_once = _alone(built_at_once, options.rows)
    if options.json:
        print(json.dumps({"planned": told, "built": true, "at once": at_once}))
        return
    print(f"| {options.rows} rows, probe of {options.probe} | planned, CPU s | built, CPU s | off by |")
    print("|---|---|---|---|")
    whole = sum(told[step][0] for step in true), sum(seconds for seconds, _ in true.values())
    lines = [*((step, told[step][0], true[step][0]) for step in true), ("all, one by one", *whole)]
    for name, ahead, after in [*lines, ("all, as `reidsynth build`", whole[0], at_once)]:
        print(f"| {name} | {ahead:.1f} | {after:.1f} | {100 * (ahead / after - 1):+.0f} % |")
    print(f"\nthe plan itself: {told['the plan itself'][0]:.1f} CPU s")


if __name__ == "__main__":
    main()
