"""How a run looks up while it trains: its score on the split that chooses the best checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from reidtrain.batch import parse_mode
from reidtrain.checkpoint import LoadedRun
from reidtrain.config import RunConfig
from reidtrain.data import open_manifest
from reidtrain.errors import UserError

if TYPE_CHECKING:
    from reidtrain.backbones import DualEncoder
    from reidtrain.runlog import RunLog


def selection_split(config: RunConfig, model: nn.Module, backbone: DualEncoder) -> str | None:
    """The split that chooses the best checkpoint; None where a manifest lacks it, and the last checkpoint is the best.

    Args:
        config: of the run.
        model: of the run.
        backbone: its encoder.

    Raises:
        UserError: when the split lacks a modality that is asked for: now, and not at the first look.
    """
    select = config.select
    if not all(select.split in open_manifest(path).splits for path in config.data.manifests):
        return None
    from reidtrain.evaluate import evaluation_data

    loaded = LoadedRun(model, backbone, config, 0, Path(), {})
    evaluation_data(loaded, config.data.manifests[0], select.split, selection_modes(config))
    return select.split


def selection_modes(config: RunConfig) -> list[str]:
    """Modes that select, without those whose modalities the configuration leaves out.

    Raises:
        UserError: when none is left.
    """
    read = set(config.data.tables.named())
    modes = [mode for mode in config.select.modes if {*parse_mode(mode).query, *parse_mode(mode).gallery} <= read]
    if not modes:
        raise UserError(
            f"none of select.modes ({', '.join(config.select.modes)}) can be asked with {' and '.join(sorted(read))}: "
            "set select.modes to modes of these"
        )
    return modes


def validate(config: RunConfig, model: nn.Module, backbone: DualEncoder, step: int, log: RunLog) -> dict[str, float]:
    """Score a model on the selection split of the first manifest, and log it.

    Args:
        config: of the run.
        model: left in eval mode.
        backbone: its encoder.
        step: steps taken.
        log: of the run.

    Returns:
        Mode -> declared metric, and `mean` over the modes.
    """
    from reidtrain.evaluate import evaluate_loaded

    model.eval()
    loaded = LoadedRun(model, backbone, config, step, Path(), {})
    metric = config.select.metric
    result = evaluate_loaded(loaded, config.data.manifests[0], split=config.select.split, modes=selection_modes(config))
    scores = {name: mode.cmc[0] if metric == "R1" else getattr(mode, metric) for name, mode in result.modes.items()}
    mean = sum(scores.values()) / len(scores)
    log.write(step, "val", {"mean": mean, metric: scores})
    log.say(f"step {step}: mean {metric} on {config.select.split} {100 * mean:.1f}")
    return {"mean": mean, **scores}
