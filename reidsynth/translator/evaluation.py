"""The end of an epoch: held-out pairs scored beside the baselines, and the sample sheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from reidsynth import storage
from reidsynth.translator import scores
from reidsynth.translator.options import TranslatorOptions
from reidsynth.translator.pairs import PLURALS
from reidsynth.translator.pixels import levels, scaled
from reidsynth.translator.prepared import Prepared
from reidsynth.translator.runlog import RunLog
from reidsynth.translator.sheet import draw_sheet
from reidsynth.translator.weights import Facts

SHEETS = "sheets"


def evaluate(
    generator: nn.Module,
    pairs: Prepared,
    facts: Facts,
    beside: Mapping[str, scores.Closeness],
    options: TranslatorOptions,
    run: Path,
    log: RunLog,
) -> Facts:
    """Score the generator on the held-out pairs and draw the sheet of the epoch.

    Args:
        generator: left in eval mode.
        pairs: of the run.
        facts: of the epoch just finished.
        beside: scores of the baselines.
        options: of the run.
        run: its folder.
        log: gets the scores and the sheet.

    Returns:
        The facts with the scores.
    """
    device = next(generator.parameters()).device
    generator.eval()

    def generate(photos: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return levels(generator(scaled(photos.to(device)))).cpu()

    found = {scores.TRANSLATOR: scores.score(pairs.held_out, generate), **beside}
    values = {name: asdict(one) for name, one in found.items()}
    log.write(facts.step, "held-out", {"epoch": facts.epoch, **values})
    count = min(options.sheet_rows, len(pairs.held_out))
    rows = [number * len(pairs.held_out) // count for number in range(count)]
    shown = torch.from_numpy(np.stack([pairs.held_out[row] for row in rows]))
    made = generate(shown[:, :3])
    notes = [f"{db:.1f} dB  SSIM {alike:.2f}" for db, alike in zip(*scores.closeness(made, shown[:, 3:]), strict=True)]
    ours, mean = found[scores.TRANSLATOR], found[scores.MEAN]
    sheet = draw_sheet(
        f"{PLURALS[facts.target]}, epoch {facts.epoch} of {options.total_epochs}",
        f"{len(pairs.held_out)} held-out pairs: PSNR {ours.psnr:.2f} dB, SSIM {ours.ssim:.3f}; mean training image "
        f"{mean.psnr:.2f} dB, {mean.ssim:.3f}",
        shown[:, :3].permute(0, 2, 3, 1).numpy(),
        made[:, 0].numpy(),
        shown[:, 3].numpy(),
        notes,
    )
    with storage.writing(run / SHEETS / f"epoch-{facts.epoch:04d}.png") as handle:
        sheet.save(handle, "PNG")
    log.picture(facts.step, np.asarray(sheet))
    log.restart()  # what this took is no time of training
    return facts.model_copy(update={"scores": values})
