"""Draws small folders of aligned pairs, and the options of a training run of seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fixtures import SHIRTS, crop
from PIL import Image

TINY = {
    **{"height": 32, "width": 16, "downs": 4, "channels": 4, "discriminator_channels": 2},
    **{"batch_size": 4, "epochs": 1, "decay_epochs": 1, "log_every": 2, "sheet_rows": 3, "threads": 1, "lr": 2e-3},
}


def pair_folders(root: Path, people: int = 9, views: int = 2) -> tuple[Path, Path]:
    """Folders `visible` (PNG) and `infrared` (BMP): shirts that differ in colour look alike in infrared."""
    for pid in range(people):
        for view in range(views):
            photo = crop(10 * pid + view, (48, 24), list(SHIRTS)[pid % len(SHIRTS)])
            infrared = np.where(photo.max(2) > 140, 40, 200).astype(np.uint8)
            for side, image, kind in (("visible", photo, "png"), ("infrared", infrared, "bmp")):
                path = root / side / f"{pid:04d}_c{view + 1}_0.{kind}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)
    return root / "visible", root / "infrared"


def settings(**more: object) -> list[str]:
    """The tiny options as `--set` takes them."""
    return [part for name, value in {**TINY, **more}.items() for part in ("--set", f"{name}={value}")]
