"""Tri-CUHK-PEDES, Tri-ICFG-PEDES and Tri-RSTPReid: base data sets with the sketches that UNIReID's authors released.

Reference: C. Chen, M. Ye, D. Jiang, "Towards Modality-Agnostic Person Re-identification with Descriptive Query", CVPR
2023. Each photograph has one sketch, made by two closed web services (background erased, then drawn), so the table is
`sketch-unireid` of synthetic origin; captions and splits are those of the base data set, and so is the name in the
captures: the same photograph has the same sample_id in either. The sketch of `a/b.bmp` may be `a/b.jpg`.

Two layouts are in use, and both are probed: parallel folders beside `imgs` (`imgs-sketch2` or `imgs-sketch`), as the
authors' code opens them, and the released archive (`sketch/aliyun/<CUHK|ICFG|RSTPReid>/`, with or without `imgs`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict, field_validator
from pydantic.dataclasses import dataclass

from reidsynth import listing
from reidsynth.errors import UserError
from reidsynth.policy import Policy
from reidsynth.schema import Content, Record, TableSpec
from reidsynth.sources.captioned import IMAGES, CaptionedPhotographs
from reidsynth.sources.cuhk_pedes import CuhkPedes
from reidsynth.sources.icfg_pedes import IcfgPedes
from reidsynth.sources.rstpreid import RstpReid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TABLE = "sketch-unireid"
_PROBED = 64  # photographs whose sketches are looked for in each layout


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class _Sketched(CaptionedPhotographs):
    """What the three have in common; see their own docstrings for the parameters."""

    sketches: str = ""
    sketch_root: Path | None = None

    base_name: ClassVar[str]
    folders: ClassVar[tuple[str, ...]]
    """Folders of sketches beside `imgs`, as the authors' code names them first."""
    archived: ClassVar[str]
    """Name of the data set in the released archive."""

    @field_validator("sketches")
    @classmethod
    def _template_names_a_file(cls, value: str) -> str:
        if value and "{path}" not in value and "{stem}" not in value:
            raise ValueError("must hold {path} (path below imgs) or {stem} (the same without extension)")
        if value and listing.relative_problem(value) is not None:
            raise ValueError("must be relative, without '..'; give another folder as sketch_root")
        return value

    def dataset(self) -> str:
        """Name of the base data set, whose photographs these are."""
        return self.base_name

    def tables(self) -> tuple[TableSpec, ...]:
        """Photographs, sentences, and the released sketches."""
        return (*super().tables(), TableSpec(TABLE, "sketch", "synthetic"))

    def records(self, split: str) -> list[Record]:
        """List a split, sorted by sample_id.

        Raises:
            UserError: as the base data set, and when no layout of sketches is found.
        """
        return self._with_sketches[split]

    def read(self, record: Record) -> Content:
        """Read a photograph and its sketch; each may be missing for its own reason."""
        content = super().read(record)
        sketch = listing.read_images(self._place, {TABLE: record.payload["sketch"]})
        return replace(
            content,
            images={**content.images, **sketch.images},
            errors={**content.errors, **sketch.errors},
        )

    def stamp(self, record: Record) -> str:
        """Size and modification time of both files."""
        return f"{super().stamp(record)} {listing.file_stamp(self._place, record.payload['sketch'])}"

    @property
    def _place(self) -> Path:
        """Folder that the paths of sketches are relative to."""
        return self.root if self.sketch_root is None else self.sketch_root

    @cached_property
    def _with_sketches(self) -> dict[str, list[Record]]:
        listing.folder(self._place, "the sketches")
        found = self._found
        everything = list(chain.from_iterable(found.values()))
        template = self._template(everything[:: max(1, len(everything) // _PROBED)])
        return {
            split: [
                replace(record, payload={**record.payload, "sketch": self._sketch(template, record.source_path)})
                for record in records
            ]
            for split, records in found.items()
        }

    def _template(self, sample: Sequence[Record]) -> str:
        """The layout under which most sketches of a sample are found, the first of equals."""
        hits = {template: self._hits(template, sample) for template in self._templates()}
        best = max(hits, key=lambda template: hits[template])
        if not hits[best]:
            raise UserError(
                f"no sketch of {self.title} is found below {str(self._place)!r} (looked for "
                f"{sample[0].source_path!r} as {', '.join(map(repr, hits))}): put the released sketches there, give "
                "their folder as sketch_root, or their layout as sketches='folder/{path}'"
            )
        return best

    def _templates(self) -> Iterator[str]:
        inside = "" if self._base == self.root else f"{self.title}/"
        if self.sketches:
            yield self.sketches
            if inside and self.sketch_root is None:
                yield inside + self.sketches
            return
        archive = (f"{self.archived}/{IMAGES}/{{path}}", f"{self.archived}/{{path}}")
        if self.sketch_root is None:
            yield from (f"{inside}{folder}/{{path}}" for folder in self.folders)
            for prefix in dict.fromkeys(("", inside)):
                yield from (f"{prefix}sketch/aliyun/{path}" for path in archive)
            return
        yield from (f"{folder}/{{path}}" for folder in self.folders)
        yield from (prefix + path for prefix in ("sketch/aliyun/", "aliyun/", "") for path in archive)
        yield f"{IMAGES}/{{path}}"
        yield "{path}"

    def _hits(self, template: str, sample: Sequence[Record]) -> int:
        photos = (self._base / IMAGES).resolve()
        hits = 0
        for record in sample:
            sketch = self._place / self._sketch(template, record.source_path)
            hits += sketch.is_file() and not sketch.resolve().is_relative_to(photos)
        return hits

    def _sketch(self, template: str, path: str) -> str:
        """Path of a sketch: as the photograph's, or with another extension if only that is there."""
        stem = PurePosixPath(path).with_suffix("").as_posix()
        named = template.replace("{path}", path).replace("{stem}", stem)
        if (self._place / named).is_file():
            return named
        others = (PurePosixPath(named).with_suffix(suffix).as_posix() for suffix in (".jpg", ".png"))
        return next((other for other in others if (self._place / other).is_file()), named)


def _terms(base: type[CaptionedPhotographs]) -> Policy:
    note = f"The sketches carry no terms of their own and are derived from the photographs. {base.policy.note}"
    return replace(base.policy, note=note)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TriCuhkPedes(_Sketched, CuhkPedes):
    """Tri-CUHK-PEDES: CUHK-PEDES with UNIReID's sketches, 40,206 of them.

    Args:
        root: folder of CUHK-PEDES, or the folder that holds it (and perhaps the archive of sketches).
        sketches: layout of the sketches, `imgs-sketch2/{path}` for example; found by itself where it is a usual one.
        sketch_root: folder of the sketches, where it is not below root.
    """

    name: ClassVar[str] = "tri-cuhk-pedes"
    base_name: ClassVar[str] = CuhkPedes.name
    policy: ClassVar[Policy] = _terms(CuhkPedes)
    folders: ClassVar[tuple[str, ...]] = ("imgs-sketch2", "imgs-sketch")
    archived: ClassVar[str] = "CUHK"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TriIcfgPedes(_Sketched, IcfgPedes):
    """Tri-ICFG-PEDES: ICFG-PEDES with UNIReID's sketches, 54,522 of them.

    Args:
        root: folder of ICFG-PEDES, or the folder that holds it (and perhaps the archive of sketches).
        sketches: layout of the sketches, `imgs-sketch/{path}` for example; found by itself where it is a usual one.
        sketch_root: folder of the sketches, where it is not below root.
    """

    name: ClassVar[str] = "tri-icfg-pedes"
    base_name: ClassVar[str] = IcfgPedes.name
    policy: ClassVar[Policy] = _terms(IcfgPedes)
    folders: ClassVar[tuple[str, ...]] = ("imgs-sketch", "imgs-sketch2")
    archived: ClassVar[str] = "ICFG"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TriRstpReid(_Sketched, RstpReid):
    """Tri-RSTPReid: RSTPReid with UNIReID's sketches, 20,505 of them.

    Args:
        root: folder of RSTPReid, or the folder that holds it (and perhaps the archive of sketches).
        sketches: layout of the sketches, `imgs-sketch/{path}` for example; found by itself where it is a usual one.
        sketch_root: folder of the sketches, where it is not below root.
    """

    name: ClassVar[str] = "tri-rstpreid"
    base_name: ClassVar[str] = RstpReid.name
    policy: ClassVar[Policy] = _terms(RstpReid)
    folders: ClassVar[tuple[str, ...]] = ("imgs-sketch", "imgs-sketch2")
    archived: ClassVar[str] = "RSTPReid"
