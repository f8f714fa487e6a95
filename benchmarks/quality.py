"""What made tables of the drawn world are worth, and what it costs to find out.

python benchmarks/quality.py data/demo    (after `reidsynth build manifests/demo.yaml --out data/demo`)

Measured on the drawn world of seed 0, split test (800 captures of 200 people, 128x64; 400 of them ask), one thread of a
2-core machine that was busy with other work: pairs of three tables with their baselines 7.7 CPU s, distances of two
tables with their bounds 11.6 more, the acceptance test of three tables with the real ones 10.1 more. The network of the
distances and of the searches is the shipped demo backbone, which knows drawn people and real sketches of that world.

    paired                    n    PSNR            SSIM            IoU
    ir-ca to ir               800  10.16 +- 1.69   0.241 +- 0.111
      luminance               800  10.16 +- 1.66   0.246 +- 0.115
      inverted luminance      800   8.36 +- 1.28   0.135 +- 0.101
      mean ir image of train  800  18.49 +- 1.59   0.469 +- 0.048
    mask-grabcut to mask      800  13.08 +- 2.05   0.728 +- 0.067  0.810 +- 0.095
      mean mask of train      800  11.37 +- 1.22   0.361 +- 0.033  0.662 +- 0.098
    lineart-standard          800  12.46 +- 0.95   0.561 +- 0.070
      white page              800  11.67 +- 1.12   0.443 +- 0.069
      mean sketch of train    800  14.38 +- 0.99   0.407 +- 0.039

    distance                       n    Frechet   kernel
    ir-ca to ir                    800  197.9      6.34 +- 0.10
      two halves of the reference  400    3.6     -0.01 +- 0.01
      photographs as they are      800  197.5      1.74 +- 0.03
    lineart-standard to sketch     800  181.9      6.55 +- 0.16
      two halves of the reference  400    9.7      0.02 +- 0.04
      photographs as they are      800  132.9      1.46 +- 0.04

    search, R1 / mAP (%)  made         real         photographs  chance
    ir-ca                 22.8 / 31.8  23.0 / 31.1  92.5 / 93.2  0.5 / 1.9
    lineart-standard       5.8 / 10.7  58.0 / 64.2  92.5 / 93.2  0.5 / 1.9
    text-template         86.8 / 88.1  67.4 / 72.5  92.5 / 93.2  0.5 / 1.9

What it says: channel augmentation is no imitation of infrared. It is no nearer to it than the photograph's luminance,
far from a mean image, and by the features' distances further than the photograph itself; it finds people about as well
as real infrared does all the same. Lineart-standard is far from this world's sketches, and an encoder that learned
those hardly reads it. Template captions tell all that is visible, where the people of this world leave things out.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from reidsynth import open_manifest
from reidsynth.measurements import Measurement
from reidsynth.quality.measuring import Questions, measure
from reidsynth.qualitycard import METRICS, table_rows

ENCODER = str(Path(__file__).parents[1] / "reidtrain" / "assets" / "demo-backbone")
STAGES = {
    "pairs": Questions(),
    "pairs and distances": Questions(features=ENCODER),
    "pairs and acceptance": Questions(encoder=ENCODER),
}


def shown(one: Measurement) -> list[str]:
    """Lines of one measurement."""
    names = [name for name in METRICS[one.kind] if name in one.found.values]
    lines = [f"{one.kind}: {one.table} to {one.against}"]
    for cells in table_rows(one, names):
        values = ", ".join(f"{METRICS[one.kind][name]} {value}" for name, value in zip(names, cells[2:], strict=True))
        lines.append(f"  {cells[0]:<30} n {cells[1]:>4}  {values}")
    return lines


def main() -> None:
    """Measure one manifest."""
    manifest = open_manifest(sys.argv[1])
    measure(manifest, Questions(features=ENCODER, encoder=ENCODER, rows=8, people=4), progress=False)  # imports
    for name, asked in STAGES.items():
        began = time.process_time()
        measure(manifest, asked, progress=False)
        print(f"{name}: {time.process_time() - began:.1f} CPU s")
    for one in measure(manifest, Questions(features=ENCODER, encoder=ENCODER), progress=False).measurements:
        print("\n".join(shown(one)))


if __name__ == "__main__":
    main()
