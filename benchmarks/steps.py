"""Images per CPU second of each step, and how well GrabCut finds the person.

    OMP_NUM_THREADS=1 python benchmarks/steps.py                     # drawn people, at three sizes
    OMP_NUM_THREADS=1 python benchmarks/steps.py --masks DIR         # and the people of benchmarks/person_masks.py

Time is CPU time of one process with one thread, on decoded pixels (no files); the best of three rounds is printed.
Captions are written from attributes here. The plain GrabCut of the comparison starts from a rectangle inset by 6 % and
runs five iterations, at the photograph's size. Methods that need weights are left out.

Measured on an idle 2-core machine (AMD EPYC, Zen 4); DIR holds three generated people over three
backgrounds (canvascomputing/human-segmentation, commit 4a72112), half figures and a group among them, and five people
in two COCO photographs. In version 1 of the step GrabCut decided alone, at up to 8,192 pixels; it reached 84, 89 and 93
images/s. Now it votes, at 3,072. How much its vote counts was chosen on these very crops, which are few: the gain of a
hundredth is no promise for others, the time is. One of the four sets lost .014, the drawn people at 128x64 .010.

    | step | 128x64 images/s | 256x128 images/s | 384x128 images/s |
    |---|---|---|---|
    | remove-background --method grabcut | 221 | 224 | 214 |
    | build-sketch --method lineart-standard | 1,331 | 1,079 | 727 |
    | build-ir --method channel-augmentation | 62,780 | 42,360 | 34,005 |
    | caption --method template | 15,451 | 15,668 | 15,571 |

    | masks | images | rectangle: IoU | ms | GrabCut decides: IoU | ms | GrabCut votes: IoU | ms |
    |---|---|---|---|---|---|---|---|
    | drawn people 128x64 | 64 | 0.702 | 23.3 | 0.804 | 8.9 | 0.794 | 4.9 |
    | drawn people 256x128 | 64 | 0.776 | 105.6 | 0.807 | 8.4 | 0.807 | 4.8 |
    | composites, 5% margin | 9 | 0.707 | 623.6 | 0.720 | 10.7 | 0.723 | 5.8 |
    | photographs, 5% margin | 5 | 0.593 | 76.4 | 0.676 | 10.3 | 0.662 | 5.6 |
    | composites, 12% margin | 9 | 0.725 | 623.1 | 0.709 | 9.8 | 0.732 | 5.6 |
    | photographs, 12% margin | 5 | 0.620 | 96.8 | 0.651 | 10.3 | 0.684 | 5.5 |
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from person_masks import Pair, known_sets, overlap

from reidsynth import images
from reidsynth.errors import UserError
from reidsynth.schema import Sample
from reidsynth.sources import build_source
from reidsynth.steps import STEPS, Step, background, build_step

SIZES = ((128, 64), (256, 128), (384, 128))


@dataclass(frozen=True)
class Drawn:
    """A photograph with its true mask and texts, ready for every step."""

    sample: Sample

    def given(self, names: tuple[str, ...]) -> Sample:
        """What a step reads."""
        kept = {name: image for name, image in self.sample.images.items() if name in names}
        return Sample(self.sample.sample_id, {}, kept, self.sample.texts)


def drawn(size: tuple[int, int], count: int) -> list[Drawn]:
    """People of the demo world that no shown result uses."""
    source = build_source(
        "demo", {"seed": 9000, "train": -(-count // 4), "val": 0, "test": 0, "height": size[0], "width": size[1]}
    )
    found = []
    for record in list(source.records("train"))[:count]:
        content = source.read(record)
        pixels = {name: images.decode(content.images[name]) for name in ("rgb", "mask")}
        pixels["mask"] = pixels["mask"][:, :, 0]
        pixels["mask-grabcut"] = pixels["mask"]
        found.append(Drawn(Sample(record.sample_id, {}, pixels, content.texts)))
    return found


def rectangle_grabcut(photo: np.ndarray) -> np.ndarray:
    """The usual call, for comparison."""
    height, width = photo.shape[:2]
    inside = (round(width * 0.06), round(height * 0.06), round(width * 0.88), round(height * 0.88))
    labels = np.zeros((height, width), np.uint8)
    cv2.grabCut(photo, labels, inside, np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_RECT)
    return (labels & 1) == 1


def our_grabcut(photo: np.ndarray) -> np.ndarray:
    """The step with its defaults."""
    made = build_step("remove-background", "grabcut", {}).process([Sample("benchmark", {}, {"rgb": photo})])[0]
    return np.asarray(made.image) > 0


def cut_alone(photo: np.ndarray) -> np.ndarray:
    """Version 1 of the step: GrabCut decides alone, at up to 8,192 pixels."""
    small = background._shrunk(photo, 8192)
    found = background._cut(small, background.person_probability(small), 1).astype(np.uint8)
    mask = background._without_specks(found) * np.uint8(255)
    return cv2.resize(mask, photo.shape[1::-1], interpolation=cv2.INTER_LINEAR) > 127


def fit(cut: Callable[[np.ndarray], np.ndarray], pairs: list[Pair]) -> str:
    """Mean intersection over union, and CPU milliseconds an image, as two cells."""
    cv2.setRNGSeed(0)
    start = time.process_time()
    found = [cut(photo) for photo, _ in pairs]
    spent = (time.process_time() - start) * 1000 / len(pairs)
    values = [overlap(person, truth) for person, (_, truth) in zip(found, pairs, strict=True)]
    return f"{np.mean(values):.3f} | {spent:.1f}"


def buildable(step: str, method: str) -> Step | None:
    """The method with its defaults; None where it needs weights."""
    try:
        built = build_step(step, method, {})
        return None if built.weights() else built
    except UserError:
        return None


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--masks", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    people = {size: drawn(size, options.count) for size in SIZES}
    print("| step | " + " | ".join(f"{h}x{w} images/s" for h, w in SIZES) + " |\n|---|" + "---|" * len(SIZES))
    for name, methods in STEPS.items():
        for method in methods:
            step = buildable(name, method)
            if step is None:
                continue
            speeds = []
            for size in SIZES:
                inputs = step.inputs(("rgb", "mask", "mask-grabcut", "text"))
                samples = [each.given(inputs) for each in people[size]]
                step.process(samples[:2])
                rounds = []
                for _ in range(3):
                    start = time.process_time()
                    step.process(samples)
                    rounds.append(time.process_time() - start)
                speeds.append(len(samples) / min(rounds))
            print(f"| {name} --method {method} | " + " | ".join(f"{speed:,.0f}" for speed in speeds) + " |")
    sets: dict[str, list[Pair]] = {
        f"drawn people {h}x{w}": [(d.sample.images["rgb"], d.sample.images["mask"] > 127) for d in people[h, w]]
        for h, w in SIZES[:2]
    }
    if options.masks:
        sets |= known_sets(options.masks)
    print("\n| masks | images | rectangle: IoU | ms | GrabCut decides: IoU | ms | GrabCut votes: IoU | ms |")
    print("|---|---|---|---|---|---|---|---|")
    for label, pairs in sets.items():
        print(f"| {label} | {len(pairs)} | {' | '.join(fit(cut, pairs) for cut in METHODS)} |")


METHODS = (rectangle_grabcut, cut_alone, our_grabcut)


if __name__ == "__main__":
    main()
