"""The papers' ablations on the drawn world, three seeds of world and training: `python benchmarks/ablations.py`.

Started again after a kill, it goes on; `--tables dmf --seeds 0 1` runs a part. Each table has one schedule for all its
rows, far shorter than the paper's. `docs/ablations.md` says where the order of the papers shows.
Measured (one core, about 20 CPU seconds a run), rank 1 in percent:

    | DMF, photograph to photograph, 150 steps | R1 | mAP |
    |---|---|---|
    | frozen encoder | 92.5 ± 3.0 | 93.2 ± 2.2 |
    | text and images | 93.0 ± 2.2 | 93.6 ± 2.0 |
    | text alone | 92.8 ± 2.5 | 93.5 ± 2.1 |
    | images alone | 93.3 ± 2.6 | 93.8 ± 2.2 |
    | no pre-training | 93.1 ± 2.4 | 93.7 ± 2.0 |

    | UNIReID, 40 steps of 32 | T | S | T+S |
    |---|---|---|---|
    | frozen encoder | 65.9 ± 4.3 | 58.1 ± 5.6 | 76.4 ± 5.0 |
    | task losses alone | 70.2 ± 5.2 | 58.6 ± 4.8 | 79.2 ± 4.0 |
    | with dynamic weights | 69.5 ± 4.9 | 59.8 ± 4.2 | 78.7 ± 4.1 |
    | with interaction | 70.2 ± 4.9 | 56.9 ± 4.5 | 79.0 ± 3.0 |
    | with both | 69.2 ± 5.5 | 58.3 ± 3.4 | 77.3 ± 2.7 |

    | AIO, 30 steps of 32 | R | I | S | T | T+S | T+S over the frozen encoder |
    |---|---|---|---|---|---|---|
    | frozen encoder | 92.5 ± 3.0 | 21.2 ± 3.0 | 58.1 ± 5.6 | 65.9 ± 4.3 | 76.4 ± 5.0 | |
    | all heads | 92.5 ± 2.6 | 21.1 ± 1.9 | 56.8 ± 6.4 | 66.8 ± 2.7 | 76.8 ± 4.3 | +0.4 ± 0.8 |
    | masked attributes alone | 92.3 ± 3.1 | 21.1 ± 2.5 | 58.3 ± 6.0 | 65.8 ± 3.8 | 76.3 ± 5.3 | -0.1 ± 0.4 |
    | masked attributes and classes | 92.4 ± 2.8 | 20.8 ± 2.2 | 57.9 ± 6.3 | 66.6 ± 3.2 | 76.8 ± 4.4 | +0.4 ± 0.7 |
    | binding alone | 92.4 ± 2.4 | 19.7 ± 1.2 | 56.4 ± 6.5 | 62.8 ± 2.5 | 75.1 ± 3.6 | -1.3 ± 1.7 |

    | FlexiReID, 40 steps of 32 | mean of seven | over adaptive, seed by seed |
    |---|---|---|
    | frozen encoder | 57.4 ± 4.6 | -4.3 ± 0.5 |
    | adaptive routing | 61.7 ± 4.1 | |
    | top-1 | 61.9 ± 4.2 | +0.2 ± 0.1 |
    | soft | 62.1 ± 4.0 | +0.4 ± 0.4 |
    | hash | 61.3 ± 4.3 | -0.4 ± 0.2 |
    | concatenation | 61.7 ± 4.1 | -0.0 ± 0.4 |
    | sum | 61.6 ± 3.9 | -0.1 ± 0.6 |
    | hierarchical | 61.4 ± 4.2 | -0.3 ± 0.5 |
    | zeros for missing modalities | 61.8 ± 4.2 | +0.1 ± 0.1 |
    | without the entropy | 61.7 ± 4.1 | +0.0 ± 0.2 |

    | FlexiReID, components and figure 5, a run of its own | mean of seven | over FlexiReID, seed by seed |
    |---|---|---|
    | FlexiReID | 61.7 ± 4.2 | |
    | one adapter, sum of global features | 61.8 ± 4.5 | +0.1 ± 0.3 |
    | experts, without the entropy, the same sum | 61.7 ± 4.4 | +0.0 ± 0.4 |
    | experts, with it, the same sum | 61.6 ± 4.3 | -0.1 ± 0.3 |
    | zeros for missing modalities | 61.7 ± 4.1 | +0.0 ± 0.1 |
    | 2 experts, threshold 0.4 | 61.2 ± 3.8 | -0.5 ± 0.5 |
    | 10 experts, threshold 0.4 | 61.9 ± 3.6 | +0.2 ± 0.6 |
    | threshold 0.2 | 61.9 ± 4.1 | +0.1 ± 0.4 |
    | threshold 0.8 | 62.0 ± 3.8 | +0.3 ± 0.5 |
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from reidtrain.ablation import Ablation, Plan, ablate
from reidtrain.batch import SEVEN_MODES

ROOT = Path(__file__).resolve().parents[1]
WORLD = {"train": 400, "val": 100, "test": 200, "observations": 4, "detail": 0.6}
SEVEN = tuple(mode.name for mode in SEVEN_MODES)
SHORT = ("select.split=none", "train.threads=0", "sampler.batch_size=32")
FLEXIREID = (*SHORT, "train.steps=40")


@dataclass(frozen=True)
class Table:
    """One table of a paper, on one schedule.

    Args:
        title: of the paper's table.
        rows: presets, the full model first.
        modes: asked and averaged.
        settings: the schedule, the same for all rows.
    """

    title: str
    rows: tuple[str, ...]
    modes: tuple[str, ...]
    settings: tuple[str, ...]


def rows(preset: str, *names: str) -> tuple[str, ...]:
    """The preset and its rows of these names."""
    return (preset, *(f"{preset}:{name}" for name in names))


TABLES = {
    "components": Table(
        "FlexiReID, components (table 3)",
        rows("flexireid-demo", "mlp-adapter", "experts-without-entropy", "experts", "no-missing-embeddings"),
        SEVEN,
        FLEXIREID,
    ),
    "routing": Table(
        "FlexiReID, routing (table 4), and entropy",
        rows("flexireid-demo", "top-1", "soft", "hash", "no-entropy"),
        SEVEN,
        FLEXIREID,
    ),
    "fusion": Table(
        "FlexiReID, fusion (table 5)", rows("flexireid-demo", "concat", "sum", "hierarchical"), SEVEN, FLEXIREID
    ),
    "experts": Table(
        "FlexiReID, number of experts at threshold 0.4, and threshold at 6 (figure 5)",
        rows("flexireid-demo", "experts-2", "experts-10", "threshold-02", "threshold-08"),
        SEVEN,
        FLEXIREID,
    ),
    "unireid": Table(
        "UNIReID, dynamic weights and interaction (table 2)",
        rows("unireid-demo", "tasks", "dynamic", "interaction"),
        ("T->R", "S->R", "T+S->R"),
        (*SHORT, "train.steps=40"),
    ),
    "aio": Table(
        "AIO, heads (table 4)",
        rows("aio-demo", "va", "va-ce", "fb"),
        ("R->R", "I->R", "S->R", "T->R", "T+S->R"),
        (*SHORT, "train.steps=30"),
    ),
    "dmf": Table(
        "DMF, pre-training (table I)",
        rows("dmf-demo", "text-only", "image-only", "none"),
        ("R->R",),
        ("select.split=none", "train.threads=0"),
    ),
}


def build_worlds(folder: Path, seeds: list[int]) -> None:
    """Draw the world of each seed, as `manifests/demo.yaml` does, without synthetic variants: nothing reads them."""
    command = Path(sys.executable).with_name("reidsynth")
    for seed in seeds:
        settings = [part for key, value in {**WORLD, "seed": seed}.items() for part in ("--set", f"{key}={value}")]
        subprocess.run([command, "demo", "--out", folder / str(seed), *settings], check=True, stdout=subprocess.DEVNULL)


def run(name: str, out: Path, seeds: list[int]) -> Ablation:
    """Train and evaluate what a table lacks; rows that tables share are run once."""
    table = TABLES[name]
    plan = Plan(
        presets=table.rows,
        manifests=(str(out / "worlds" / "{seed}"),),
        seeds=tuple(seeds),
        settings=table.settings,
        modes=table.modes,
        frozen=True,
    )
    return ablate(plan, out / "runs")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "ablations")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    out = options.out.resolve()
    build_worlds(out / "worlds", options.seeds)
    for name in options.tables:
        found = run(name, out, options.seeds)
        print(f"\n{TABLES[name].title}\n\n{found.table(as_markdown=True)}", flush=True)
        (out / f"{name}.md").write_text(found.table(as_markdown=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
