"""The quickstart on several seeds of world and training: `python benchmarks/quickstart.py --seeds 0 1 2`.

Runs `scripts/quickstart.sh` once a seed, prints the seconds of each stage and rank 1 of every query mode beside chance
and the frozen encoder. Two controls: the trained models scored with the test labels shuffled, which must end at chance;
and, on the first seed's world, a training whose queries meet anybody's photograph. The latter can only forget what the
frozen encoder knows, and in 150 steps it does not forget all of it. Takes about four minutes a seed on two cores.
Nothing was chosen on these seeds: choices were made on worlds 101 to 103.

Measured on a 2-core machine without other load, seed 0: draw the world and synthesise its missing modalities 38 s;
train FlexiReID on it 112 s; evaluate seven query modes 24 s; search, rank lists, curves 32 s; in all 206 s (on other
days 193 and 274 s, with the same table).

    | rank 1, percent | T->R | S->R | I->R | T+S->R | T+I->R | S+I->R | T+S+I->R | R->R | mean of seven |
    |---|---|---|---|---|---|---|---|---|---|
    | chance | 0.5 | 0.5 | 0.5 | 0.5 | 0.5 | 0.5 | 0.5 | 0.5 | 0.5 |
    | FlexiReID, test labels shuffled, mean | 0.8 | 0.5 | 0.6 | 0.6 | 0.5 | 0.5 | 0.5 | 0.7 | 0.6 |
    | FlexiReID trained with shuffled labels, seed 0 | 0.5 | 0.5 | 5.2 | 0.5 | 5.8 | 5.8 | 5.8 | 83.2 | 3.4 |
    | frozen encoder, seed 0 | 67.4 | 58.0 | 23.0 | 78.9 | 65.2 | 50.2 | 68.2 | 92.5 | 58.7 |
    | frozen encoder, seed 1 | 69.2 | 63.7 | 22.8 | 79.8 | 66.5 | 54.0 | 72.5 | 95.5 | 61.2 |
    | frozen encoder, seed 2 | 61.1 | 52.5 | 17.8 | 70.6 | 57.9 | 43.5 | 63.0 | 89.5 | 52.3 |
    | frozen encoder, mean | 65.9 | 58.1 | 21.2 | 76.4 | 63.2 | 49.2 | 67.9 | 92.5 | 57.4 |
    | FlexiReID, seed 0 | 71.8 | 58.2 | 21.5 | 82.1 | 76.6 | 59.5 | 81.5 | 93.8 | 64.5 |
    | FlexiReID, seed 1 | 75.4 | 60.2 | 23.2 | 82.8 | 78.6 | 60.0 | 83.1 | 96.0 | 66.2 |
    | FlexiReID, seed 2 | 68.9 | 55.8 | 21.5 | 74.9 | 70.0 | 56.2 | 75.2 | 91.0 | 60.4 |
    | FlexiReID, mean | 72.0 | 58.1 | 22.1 | 79.9 | 75.1 | 58.6 | 80.0 | 93.6 | 63.7 |

The control on wrong pairs keeps part of what the frozen encoder knows, in infrared most (5.2; 8.5 after 450 steps
instead of 150). Dealing out each modality on its own instead left single modalities at chance and T+S at 4.1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODES = ("T->R", "S->R", "I->R", "T+S->R", "T+I->R", "S+I->R", "T+S+I->R")
STAGE = re.compile(r"^== (\d) of \d: (.*) \((\d+) s\)$", re.MULTILINE)


def run(*command: str) -> str:
    """Run a command of the installed package from the repository's root."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PATH": path}, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def rank1(folder: Path, name: str) -> dict[str, float]:
    """Rank 1 in percent, by mode."""
    modes = json.loads((folder / f"{name}.json").read_text())["modes"]
    return {name: 100 * mode["cmc"][0] for name, mode in modes.items()}


def chance(folder: Path) -> dict[str, float]:
    """Rank 1 of a random order in percent, by mode."""
    modes = json.loads((folder / "test.json").read_text())["modes"]
    return {name: 100 * mode["chance"] for name, mode in modes.items()}


def shuffled_labels(run_folder: Path, world: Path, seed: int) -> dict[str, float]:
    """Rank 1 in percent, by mode, when the identities of the test rows are dealt out at random."""
    import numpy as np

    from reidtrain.checkpoint import load_run
    from reidtrain.evaluate import evaluate_settings, evaluation_data
    from reidtrain.protocols import choose_protocol, choose_settings

    loaded = load_run(run_folder)
    dataset = evaluation_data(loaded, world, "test", None)
    dataset.labels = np.random.default_rng(seed).permutation(dataset.labels)
    settings = choose_settings(choose_protocol(dataset.datasets.tolist(), None), [*MODES, "R->R"])
    found, _ = evaluate_settings(loaded.model, dataset, settings)
    return {name: 100 * mode.cmc[0] for name, mode in found.items()}


def line(label: str, values: dict[str, float]) -> str:
    """One row of the table."""
    cells = [values[mode] for mode in (*MODES, "R->R")]
    return f"| {label} | " + " | ".join(f"{cell:.1f}" for cell in [*cells, mean(values)]) + " |"


def mean(values: dict[str, float]) -> float:
    """Mean over the seven modes."""
    return sum(values[mode] for mode in MODES) / len(MODES)


def average(tables: list[dict[str, float]]) -> dict[str, float]:
    """Mean over the seeds, mode by mode."""
    return {mode: sum(table[mode] for table in tables) / len(tables) for mode in tables[0]}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "quickstart-benchmark")
    arguments = parser.parse_args()
    folders = {seed: arguments.out.resolve() / str(seed) for seed in arguments.seeds}
    for seed, folder in folders.items():
        stages = STAGE.findall(run("sh", "scripts/quickstart.sh", str(folder), str(seed)))
        seconds = [int(stage[2]) for stage in stages]
        parts = (f"{name} {b - a} s" for (_, name, _), a, b in zip(stages, seconds, seconds[1:], strict=False))
        print(f"seed {seed}: {'; '.join(parts)}; in all {seconds[-1]} s", flush=True)
    first = arguments.seeds[0]
    shuffled = arguments.out.resolve() / f"{first}-shuffled"
    world = str(folders[first] / "demo")
    fit = ("reidtrain", "fit", "--manifest", world, "--preset", "flexireid-demo", "--seed", str(first))
    run(*fit, "--out", str(shuffled), "--set", "train.shuffle_labels=true", "--set", "select.split=none")
    run("reidtrain", "evaluate", str(shuffled), "--manifest", world)

    table(folders, shuffled)


def table(folders: dict[int, Path], shuffled: Path) -> None:
    """Print rank 1 of every mode."""
    print("\n| rank 1, percent | " + " | ".join((*MODES, "R->R")) + " | mean of seven |")
    print("|---|" + "---|" * 9)
    results = {seed: folder / "run" / "results" for seed, folder in folders.items()}
    print(line("chance", average([chance(folder) for folder in results.values()])))
    dealt = [shuffled_labels(folder / "run", folder / "demo", seed) for seed, folder in folders.items()]
    print(line("FlexiReID, test labels shuffled, mean", average(dealt)))
    first = next(iter(folders))
    print(line(f"FlexiReID trained with shuffled labels, seed {first}", rank1(shuffled / "results", "test")))
    tables = {name: {seed: rank1(folder, name) for seed, folder in results.items()} for name in ("test-frozen", "test")}
    for name, label in (("test-frozen", "frozen encoder"), ("test", "FlexiReID")):
        for seed, table in tables[name].items():
            print(line(f"{label}, seed {seed}", table))
        print(line(f"{label}, mean", average(list(tables[name].values()))))


if __name__ == "__main__":
    main()
