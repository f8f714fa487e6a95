"""Images per CPU second of each step, and how well GrabCut finds the person.

    OMP_NUM_THREADS=1 python benchmarks/steps.py                     # drawn people, at three sizes
    OMP_NUM_THREADS=1 python benchmarks/steps.py --composites DIR    # and DIR/humans/*.png over DIR/backgrounds/*.png

Time is CPU time of one process with one thread, on decoded pixels (no files); the best of three rounds is printed.
Captions are written from attributes here. The plain GrabCut of the comparison starts from a rectangle inset by 6 % and
runs five iterations, at the photograph's size; the step works on at most 8,192 pixels.

Measured on a 2-core machine while other jobs ran on it; the composites are three generated people over three
backgrounds (canvascomputing/human-segmentation, commit 4a72112), half figures and a group among them:

    | step | 128x64 images/s | 256x128 images/s | 384x128 images/s |
    |---|---|---|---|
    | remove-background --method grabcut | 84 | 89 | 93 |
    | build-sketch --method lineart-standard | 465 | 431 | 289 |
    | build-ir --method channel-augmentation | 63,521 | 36,930 | 33,926 |
    | caption --method template | 11,438 | 16,249 | 18,614 |

    | masks | images | rectangle: IoU | ms | with the person prior: IoU | ms |
    |---|---|---|---|---|---|
    | drawn people 128x64 | 64 | 0.708 | 24.4 | 0.805 | 11.3 |
    | drawn people 256x128 | 64 | 0.788 | 109.4 | 0.806 | 10.8 |
    | composites, 5% margin, 256 high | 9 | 0.669 | 673.0 | 0.720 | 13.0 |
    | composites, 12% margin, 256 high | 9 | 0.662 | 674.0 | 0.702 | 12.6 |
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from reidsynth import images
from reidsynth.schema import Sample
from reidsynth.sources import build_source
from reidsynth.steps import STEPS, build_step

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


def composites(folder: Path, margin: float, height: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Crops of every person over every background with a margin around the person, and their masks."""
    for person in sorted((folder / "humans").glob("*.png")):
        front = np.asarray(Image.open(person).convert("RGBA"))
        for behind in sorted((folder / "backgrounds").glob("*.png")):
            back = np.asarray(Image.open(behind).convert("RGB").resize(front.shape[1::-1]))
            share = front[:, :, 3:] / 255.0
            photo = (front[:, :, :3] * share + back * (1 - share)).round().astype(np.uint8)
            truth = front[:, :, 3] > 127
            rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
            pad = [round(margin * (axis[-1] - axis[0] + 1)) for axis in (rows, columns)]
            part = np.s_[
                max(0, rows[0] - pad[0]) : rows[-1] + 1 + pad[0], max(0, columns[0] - pad[1]) : columns[-1] + 1 + pad[1]
            ]
            width = round(photo[part].shape[1] * height / photo[part].shape[0])
            small = cv2.resize(photo[part], (width, height), interpolation=cv2.INTER_AREA)
            mask = cv2.resize(truth[part].astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_AREA)
            yield small, mask > 127


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


def iou(cut: Callable[[np.ndarray], np.ndarray], pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Mean intersection over union, and CPU milliseconds an image."""
    values, start = [], time.process_time()
    found = [cut(photo) for photo, _ in pairs]
    spent = (time.process_time() - start) * 1000 / len(pairs)
    for person, (_, truth) in zip(found, pairs, strict=True):
        values.append((person & truth).sum() / max(1, (person | truth).sum()))
    return float(np.mean(values)), spent


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--composites", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    people = {size: drawn(size, options.count) for size in SIZES}
    print("| step | " + " | ".join(f"{h}x{w} images/s" for h, w in SIZES) + " |\n|---|" + "---|" * len(SIZES))
    for name, methods in STEPS.items():
        for method in methods:
            step = build_step(name, method, {})
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
    sets = {
        f"drawn people {h}x{w}": [(d.sample.images["rgb"], d.sample.images["mask"] > 127) for d in people[h, w]]
        for h, w in SIZES[:2]
    }
    if options.composites:
        for margin in (0.05, 0.12):
            sets[f"composites, {margin:.0%} margin, 256 high"] = list(composites(options.composites, margin, 256))
    print("\n| masks | images | rectangle: IoU | ms | with the person prior: IoU | ms |\n|---|---|---|---|---|---|")
    for label, pairs in sets.items():
        (plain, plain_ms), (ours, ours_ms) = iou(rectangle_grabcut, pairs), iou(our_grabcut, pairs)
        print(f"| {label} | {len(pairs)} | {plain:.3f} | {plain_ms:.1f} | {ours:.3f} | {ours_ms:.1f} |")


if __name__ == "__main__":
    main()
