"""The papers' tables, as `manifests/published/*.yaml` holds them.

A file is one paper: its setup (model, backbone, input size, training data, what made its modalities, on which split a
checkpoint was chosen) and its tables; a table or an entry may differ from the setup. An entry is one method on one
setting of one protocol, in the words of `reidtrain.protocols`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reidtrain.errors import UserError

METRICS = ("R1", "R5", "R10", "R20", "mAP", "mINP")
_PLACES = ("manifests/published", "reidsynth/manifests/published")  # in the repository; beside us once installed
FOLDER = next(
    (folder for place in _PLACES if (folder := Path(__file__).parents[1] / place).is_dir()),
    Path(__file__).parents[1] / _PLACES[0],
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PublishedEntry(_Part):
    """One method on one setting, percent."""

    method: str
    data: str
    protocol: str
    setting: str
    own: bool = False
    venue: str | None = None
    trained_on: tuple[str, ...] | None = None
    run_by: str | None = None
    doubt: str | None = None
    R1: float | None = None
    R5: float | None = None
    R10: float | None = None
    R20: float | None = None
    mAP: float | None = None  # noqa: N815 - the metric's own name
    mINP: float | None = None  # noqa: N815 - the metric's own name

    def values(self) -> dict[str, float]:
        """Metric -> percent, of those that are printed."""
        return {name: value for name in METRICS if (value := getattr(self, name)) is not None}


class PublishedTable(_Part):
    """One table; statistics and latencies are kept as they are."""

    table: int
    title: str
    kind: Literal["results", "statistics", "latency"] = "results"
    note: str | None = None
    trained_on: tuple[str, ...] | None = None
    made_by: dict[str, str] | None = None
    entries: tuple[dict[str, Any], ...]

    def results(self) -> tuple[PublishedEntry, ...]:
        """Entries of a table of results, none for other tables."""
        return tuple(PublishedEntry.model_validate(e) for e in self.entries) if self.kind == "results" else ()


class PublishedPaper(_Part):
    """One paper."""

    paper: str
    name: str
    model: str
    backbone: str
    image_size: tuple[int, int]
    trained_on: tuple[str, ...] | Literal["same data"]
    selected_on: str
    made_by: dict[str, str] = Field(default_factory=dict)
    unit: Literal["percent"]
    tables: tuple[PublishedTable, ...]

    def training_data(self, table: PublishedTable, entry: PublishedEntry) -> tuple[str, ...]:
        """Data sets that an entry's model was trained on."""
        told = entry.trained_on or table.trained_on or self.trained_on
        return (entry.data,) if told == "same data" else tuple(told)

    def makers(self, table: PublishedTable) -> Mapping[str, str]:
        """Modality -> what made it."""
        return {**self.made_by, **(table.made_by or {})}


def read_published(folder: str | Path | None = None) -> list[PublishedPaper]:
    """Read the papers' tables.

    Args:
        folder: of the YAML files; those that the repository and the installed package hold by default.

    Returns:
        The papers, by file name.

    Raises:
        UserError: when there is none, or one can't be read; every mistake of a file is named.
    """
    where = Path(folder) if folder is not None else FOLDER
    files = sorted(where.glob("*.yaml"))
    if not files:
        raise UserError(f"{where} holds no published tables (*.yaml): give their folder with --published")
    return [_read(file) for file in files]


def _read(file: Path) -> PublishedPaper:
    try:
        paper = PublishedPaper.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
        for table in paper.tables:
            table.results()
    except (OSError, yaml.YAMLError) as error:
        raise UserError(
            f"{file} can't be read ({' '.join(str(error).split())}): take it from the repository"
        ) from error
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
        raise UserError(f"{file} is not a paper's tables ({told}): mend it, or take it from the repository") from error
    return paper
