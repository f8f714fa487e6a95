"""What the gates let pass and what they stop, on a manifest with photographs, masks and sketches; and what they cost.

reidsynth ingest folder ../shared/data/crops --set 'pattern={_}_{pid}' --out data/crops
reidsynth remove-background data/crops && reidsynth build-sketch data/crops
reidsynth build-sketch data/crops --method pidinet --set model=../shared/data/weights/pidinet
python benchmarks/gates.py data/crops

Measured on the 54 rendered crops of `../shared/data/crops`, and on 400 captures of the drawn world (`data/demo`); the
numbers are the rows that fail, and the 1st, 50th and 99th percentile of the score that should tell:

    drawn by                              54 crops                       400 drawn people
    a drawn world's artist                                                 0  likeness .00 .09 .30
    lineart-standard                       0  likeness .02 .22 .56         0  likeness .02 .30 .59
    PiDiNet                                0  likeness .00 .07 .22
    photograph in grey, or inverted       54  likeness 1.0 1.0 1.0       400  likeness 1.0 1.0 1.0
      brighter                            54  likeness .98 1.0 1.0       400  likeness .99 1.0 1.0
      blurred                             50  likeness .89 .96 .99       400  likeness .92 .97 .99
      equalised                           52  likeness .87 .98 1.0       307  likeness .82 .95 1.0
      background erased                   46  likeness .58 .96 .98       248  likeness .72 .92 .97
    noise ("evenly filled")               54                             400
    one smudge                            54                             400
    generated infrared = luminance        54  grey 1.0                   400  grey 1.0

A copy with its background erased gets through where person and background are equally bright. A sketch is judged in
0.3 (128x64) to 0.7 ms (the crops) of CPU. No verdict of the 2,800 rows of any table of the demo recipe changed with
gates version 2.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import cv2
import numpy as np

from reidsynth import images, open_manifest
from reidsynth.gates import generated_scores, judge
from reidsynth.manifest import Manifest
from reidsynth.steps.matte import matte

MOST = 400
Image = np.ndarray


def grey(photo: Image) -> Image:
    """Luminance, uint8 (H, W)."""
    return cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)


def gamma(photo: Image) -> Image:
    """A brighter copy."""
    return (255 * (grey(photo) / 255.0) ** 0.6).round().astype(np.uint8)


def noise(photo: Image) -> Image:
    """Nothing at all."""
    return np.random.default_rng(0).integers(60, 256, photo.shape[:2]).astype(np.uint8)


def smudge(photo: Image) -> Image:
    """Ink in one place."""
    page = np.full(photo.shape[:2], 255, np.uint8)
    height, width = page.shape
    page[height // 3 : height // 3 + height // 10, width // 3 : width // 3 + width // 5] = 0
    return page


BAD_SKETCHES: dict[str, Callable[[Image], Image]] = {
    "photograph in grey": grey,
    "inverted": lambda photo: 255 - grey(photo),
    "brighter": gamma,
    "blurred": lambda photo: cv2.GaussianBlur(grey(photo), (0, 0), 1.5),
    "equalised": lambda photo: cv2.equalizeHist(grey(photo)),
    "noise": noise,
    "smudge": smudge,
}


def told(name: str, verdicts: list[tuple[str | None, float]], score: str) -> None:
    """Print the share that failed, the most frequent reason, and the spread of one score."""
    failed = [reason for reason, _ in verdicts if reason]
    most = max(set(failed), key=failed.count) if failed else "-"
    low, middle, high = np.percentile([value for _, value in verdicts], (1, 50, 99))
    print(f"{name:<38} {len(failed):>4} of {len(verdicts):<4} fail  {score} {low:.2f} {middle:.2f} {high:.2f}  {most}")


def photographs(manifest: Manifest) -> list[tuple[str, int, Image]]:
    """Split, row and pixels of some photographs."""
    found = []
    for split in manifest.splits:
        reader = manifest.table("rgb", split)
        rows = range(0, len(reader), max(1, len(reader) // MOST))
        found += [
            (split, n, images.decode(row["image"]["bytes"])) for n in rows if (row := reader[n])["verdict"] == "pass"
        ]
    return found[:MOST]


def main() -> None:
    """Judge what a manifest holds, and what should fail beside it."""
    manifest = open_manifest(sys.argv[1])
    photos = photographs(manifest)
    made = {name: table.modality for name, table in manifest.tables.items()}
    for name in (name for name, modality in made.items() if modality == "sketch"):
        rows = [(manifest.table(name, split)[n], photo) for split, n, photo in photos]
        drawn = [(images.decode(row["image"]["bytes"]), photo) for row, photo in rows if row["image"]]
        verdicts = [judge("sketch", image, photo) for image, photo in drawn]
        told(name, [(v.reason, v.scores["likeness"] or 0.0) for v in verdicts], "likeness")
        told(name, [(v.reason, v.scores["entropy"] or 0.0) for v in verdicts], "entropy ")
    for name, make in BAD_SKETCHES.items():
        verdicts = [judge("sketch", make(photo), photo) for _, _, photo in photos]
        told(name, [(v.reason, v.scores["likeness"] or 0.0) for v in verdicts], "likeness")
    masks = next((name for name, modality in made.items() if modality == "mask" and name != "mask"), "mask")
    erased = []
    for split, n, photo in photos:
        row = manifest.table(masks, split)[n]
        if row["image"] is not None:
            erased.append((grey(matte(photo, images.decode_mask(row["image"]["bytes"]))), photo))
    verdicts = [judge("sketch", image, photo) for image, photo in erased]
    told(
        "photograph in grey, background erased", [(v.reason, v.scores["likeness"] or 0.0) for v in verdicts], "likeness"
    )
    began = time.process_time()
    for _, _, photo in photos:
        judge("sketch", grey(photo), photo)
    spent = time.process_time() - began
    print(f"a sketch is judged in {1e3 * spent / len(photos):.2f} ms of CPU")
    verdicts = [judge("ir", grey(p), p, generated_scores("ir", grey(p), p)) for _, _, p in photos]
    told("generated infrared = luminance", [(v.reason, v.scores["grey"] or 0.0) for v in verdicts], "grey    ")


if __name__ == "__main__":
    main()
