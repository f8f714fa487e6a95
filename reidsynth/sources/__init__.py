"""Readers of data sets as their owners ship them; each registers by one line in SOURCES."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from reidsynth import registry
from reidsynth.errors import UserError
from reidsynth.published import Published

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reidsynth.policy import Policy
    from reidsynth.schema import Content, Record, TableSpec

SOURCES: dict[str, str] = {
    "cuhk-pedes": "reidsynth.sources.cuhk_pedes:CuhkPedes",
    "cuhk03-np": "reidsynth.sources.cuhk03_np:Cuhk03Np",
    "demo": "reidsynth.sources.demo:Demo",
    "finegpr": "reidsynth.sources.finegpr:FineGpr",
    "folder": "reidsynth.sources.folder:Folder",
    "icfg-pedes": "reidsynth.sources.icfg_pedes:IcfgPedes",
    "llcm": "reidsynth.sources.llcm:Llcm",
    "llvip": "reidsynth.sources.llvip:Llvip",
    "manifest": "reidsynth.sources.manifest:ExistingManifest",
    "market-sketch-1k": "reidsynth.sources.market_sketch_1k:MarketSketch1K",
    "market1501": "reidsynth.sources.market1501:Market1501",
    "msmt17": "reidsynth.sources.msmt17:Msmt17",
    "orbench": "reidsynth.sources.orbench:OrBench",
    "pku-sketch": "reidsynth.sources.pku_sketch:PkuSketch",
    "randperson": "reidsynth.sources.randperson:RandPerson",
    "regdb": "reidsynth.sources.regdb:RegDb",
    "rstpreid": "reidsynth.sources.rstpreid:RstpReid",
    "synth-pedes": "reidsynth.sources.synth_pedes:SynthPedes",
    "sysu-mm01": "reidsynth.sources.sysu_mm01:SysuMm01",
    "tri-cuhk-pedes": "reidsynth.sources.tri_pedes:TriCuhkPedes",
    "tri-icfg-pedes": "reidsynth.sources.tri_pedes:TriIcfgPedes",
    "tri-rstpreid": "reidsynth.sources.tri_pedes:TriRstpReid",
}


_DUKE = (
    "its owners withdrew it in 2019, since people were filmed without their consent, and it is not used here: take "
    "market1501, msmt17 or cuhk03-np"
)
REFUSED: dict[str, str] = {"duke(mtmc.*|reid)?": _DUKE}
"""Data sets that are not read: pattern of the name's lower-case letters and digits -> the reason, and what to take."""


GATES = "gates"
"""Parameter of every source: threshold -> number, or null to keep that gate open; see `reidsynth.thresholds`."""


class Source(Protocol):
    """A reader of one data set; a pydantic dataclass whose fields are its parameters.

    `records` lists cheaply, `read` opens one row. A reader drops nothing in silence: what the data set's own rules
    leave out is counted by `dropped`, a row that cannot be read stays with its reason.

    A source may also offer, each read by the function of this module that names it: `dropped`, `pid_names`,
    `protocol` (lists for evaluation), `published` (sizes to verify against), `inconsistencies` (what `reidsynth
    verify` should complain about besides), `terms` (where they depend on the folder).
    """

    name: ClassVar[str]
    version: ClassVar[int]
    policy: ClassVar[Policy]

    def dataset(self) -> str:
        """Value of the captures' `dataset` column, and first part of every sample_id."""
        ...

    def tables(self) -> tuple[TableSpec, ...]:
        """Tables it fills besides captures; `rgb` always."""
        ...

    def splits(self) -> tuple[str, ...]:
        """Splits that hold rows, the data set's own names."""
        ...

    def records(self, split: str) -> Iterable[Record]:
        """Rows of a split, in sample_id order, unique.

        Small data sets give a list. One of millions of rows gives a `Sequence` of its own, with a length and with
        slices that list only their part (`synth-pedes`): no more than a shard of records is then held in memory.

        Raises:
            UserError: the folder is not what the data set's owners ship.
        """
        ...

    def read(self, record: Record) -> Content:
        """Bytes and texts of one row; never raises for a bad row, but says why in `errors`."""
        ...

    def stamp(self, record: Record) -> str:
        """What changes when the row's file changes (size and modification time), without reading it; "" if drawn."""
        ...


def source_class(name: str) -> type[Source]:
    """Class of a registered source.

    Raises:
        UserError: the name is not registered, or is that of a data set that is refused.
    """
    _refuse(name, name)
    if name not in SOURCES:
        raise registry.unknown("source", name, SOURCES, "reidsynth sources")
    return cast("type[Source]", registry.locate(SOURCES[name]))


def build_source(name: str, params: Mapping[str, Any]) -> Source:
    """Build a source from its name and parameters.

    Args:
        name: of the source.
        params: of the source; `gates`, which every source takes, is checked here and used by `ingest`.

    Raises:
        UserError: unknown name (the valid ones are listed), wrong parameters (all of them at once), or a data set that
            is refused, whatever reader is asked to read it.
    """
    if "root" in params:
        _refuse(Path(str(params["root"])).name, str(params["root"]))
    own = {key: value for key, value in params.items() if key != GATES}
    built = cast("Source", registry.construct(source_class(name), f"source {name!r}", own))
    if GATES in params:
        from reidsynth.thresholds import limited_all

        limited_all(built.tables(), params[GATES])
    return built


def _refuse(name: str, told: str) -> None:
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    reason = next((reason for pattern, reason in REFUSED.items() if re.fullmatch(pattern, plain)), None)
    if reason is not None:
        raise UserError(f"{told!r} is DukeMTMC, and {reason}")


def published_by(source: Source) -> Published:
    """Sizes that the data set's owners or papers publish (`published`), and what its people's numbers mean."""
    sizes = getattr(source, "published", None)
    found: Published = Published() if sizes is None else sizes()
    return found


def inconsistencies(source: Source) -> tuple[str, ...]:
    """Where the data set's own lists and files contradict each other, one sentence each (`inconsistencies`)."""
    told = getattr(source, "inconsistencies", None)
    return () if told is None else tuple(told())


def terms_of(source: Source) -> Policy:
    """Terms of what a source reads: its class's policy, unless they depend on the folder (`terms`)."""
    terms = getattr(source, "terms", None)
    found: Policy = source.policy if terms is None else terms()
    return found


def dropped(source: Source) -> dict[str, int]:
    """Reason -> number of files that the data set's own rules leave out; {} for sources that leave out nothing."""
    count = getattr(source, "dropped", None)
    return dict(count()) if count is not None else {}


def pid_names(source: Source) -> dict[int, str]:
    """Person number -> the data set's own name of the person, where names are not numbers; else {}."""
    names = getattr(source, "pid_names", None)
    return dict(names()) if names is not None else {}


def protocol_of(source: Source) -> dict[str, Any]:
    """Name -> JSON value of the lists that the data set's evaluation needs (`reidsynth.protocol`); else {}."""
    lists = getattr(source, "protocol", None)
    return dict(lists()) if lists is not None else {}
