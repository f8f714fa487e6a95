"""Measures a manifest's made tables and writes the result into its card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from reidsynth.errors import UserError
from reidsynth.jobs import commit
from reidsynth.manifest import Manifest, open_manifest, read_info
from reidsynth.measurements import Kind, Measurement, Numbers, joined, rows_checksum, stale
from reidsynth.quality.samples import Place
from reidsynth.storage import locked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from reidsynth.quality.encoders import Encoder
    from reidsynth.steps.networks import Device


@dataclass(frozen=True, slots=True)
class Questions:
    """What to measure.

    Args:
        split: of the manifest; None takes `test`, else the last.
        tables: made tables; () takes all.
        references: `MANIFEST:table`, each in place of the manifest's own real table of that modality.
        features: network of the distances, see `reidsynth.quality.encoders`; None leaves them out.
        encoder: of the acceptance test; None leaves it out.
        rows: images of a table at most, for pairs and distances.
        people: of the acceptance test.
        seed: of all draws.
        device: for networks: cpu, cuda, or auto.
    """

    split: str | None = None
    tables: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    features: str | None = None
    encoder: str | None = None
    rows: int = 2000
    people: int = 200
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Quality:
    """What came out.

    Args:
        manifest: its folder.
        split: that was measured.
        measurements: one for each table and kind.
        notes: what was not measured, and why.
    """

    manifest: str
    split: str
    measurements: tuple[Measurement, ...]
    notes: tuple[str, ...]


def measure(manifest: Manifest, asked: Questions, *, progress: bool | None = None) -> Quality:
    """Measure the tables that steps made.

    Args:
        manifest: to judge; it stays as it is.
        asked: what to measure.
        progress: whether to draw bars with ETA; None draws them on terminals only.

    Returns:
        The measurements, and why others are missing.

    Raises:
        UserError: for unknown tables, splits, references or networks, and weights that are not to be had; before
            anything is measured.
    """
    split = _split(manifest, asked.split)
    tables = _tables(manifest, asked.tables)
    _check_numbers(asked)
    measuring = _Measuring(manifest, split, asked, progress)
    found: list[Measurement] = []
    for table in tables:
        found += measuring.of(table)
    measuring.note_unused({manifest.tables[table].modality for table in tables})
    return Quality(str(manifest.path), split, joined((), found), tuple(dict.fromkeys(measuring.notes)))


def record(folder: Path, found: Sequence[Measurement]) -> None:
    """Write measurements into a manifest's description and card; what was measured before stays, unless asked again.

    Args:
        folder: of the manifest.
        found: the new measurements.

    Raises:
        UserError: when another process writes there, or the tables have changed since they were measured.
    """
    read_info(folder)  # a folder that holds no manifest is left as it is
    with locked(folder):
        info = open_manifest(folder).info
        changed = {name for one in found for name in stale(info, one)}
        if changed:
            raise UserError(
                f"{folder} was changed while it was measured (table {sorted(changed)[0]!r}): measure it again"
            )
        commit(folder, info.model_copy(update={"quality": joined(info.quality, found)}))


class _Measuring:
    """The three kinds of measurement of one split, with what they share."""

    def __init__(self, manifest: Manifest, split: str, asked: Questions, progress: bool | None) -> None:
        from reidsynth.quality.acceptance import Acceptance
        from reidsynth.quality.distances import Features
        from reidsynth.quality.encoders import build_encoder

        self.manifest, self.split, self.asked, self.progress = manifest, split, asked, progress
        self.notes: list[str] = []
        self.references = _references(asked.references)
        self.features: Features | None = None
        self.acceptance: Acceptance | None = None
        device = _device(asked.device) if asked.features is not None or asked.encoder is not None else ""
        if asked.features is not None:
            network = build_encoder(asked.features, option="--features", device=device)
            self.features = Features(network, rows=asked.rows, seed=asked.seed, progress=progress)
        if asked.encoder is not None:
            encoder = build_encoder(asked.encoder, option="--encoder", device=device)
            self.acceptance = Acceptance(
                manifest, split, encoder, people=asked.people, seed=asked.seed, progress=progress
            )

    def of(self, table: str) -> Iterator[Measurement]:
        """Everything that can be said of one table."""
        modality = self.manifest.tables[table].modality
        real = modality if modality in self.manifest.tables and modality != table else None
        if modality != "text":
            yield from self._paired(table, real)
        if modality not in ("text", "mask"):
            yield from self._distance(table, real)
        if modality != "mask":
            yield from self._acceptance(table, real)

    def note_unused(self, measured: Collection[str]) -> None:
        """Tell of references that no measured table was compared with.

        Args:
            measured: modalities of the tables.
        """
        for modality, (manifest, table) in self.references.items():
            if modality == "mask" or modality not in measured:
                why = "masks have no distances" if modality == "mask" else f"no made table of {modality} was measured"
                self.notes.append(f"the reference {manifest.info.name}:{table} was not used: {why}")

    def _paired(self, table: str, real: str | None) -> Iterator[Measurement]:
        from reidsynth.quality.paired import paired

        if real is None:
            self.notes.append(
                f"{table} has no pairs: the manifest holds no real {self.manifest.tables[table].modality}"
            )
            return
        asked = self.asked
        found = paired(self.manifest, table, real, self.split, rows=asked.rows, seed=asked.seed, progress=self.progress)
        if found is None:
            self.notes.append(f"{table} has no pairs: no capture of {self.split!r} has it and {real!r}")
            return
        yield self._measurement("paired", table, real, *found, rests_on=(real,))

    def _distance(self, table: str, real: str | None) -> Iterator[Measurement]:
        from reidsynth.quality.distances import distance

        if self.features is None:
            self.notes.append("distances to real images were not measured: name a network with --features")
            return
        modality = self.manifest.tables[table].modality
        if modality in self.references:
            other = self.references[modality]
            against, reference = f"{other[0].info.name}:{other[1]}", [Place(*other, split) for split in other[0].splits]
        elif real is not None:
            against, reference = real, [Place(self.manifest, real, self.split)]
        else:
            self.notes.append(f"{table} has no distance: give --reference MANIFEST:table with real {modality} images")
            return
        photographs = Place(self.manifest, "rgb", self.split) if "rgb" in self.manifest.tables else None
        found = distance(self.features, Place(self.manifest, table, self.split), reference, photographs)
        if found is None:
            self.notes.append(f"{table} has no distance: fewer than four images on a side")
            return
        rests_on = [real] if against == real and real else []
        yield self._measurement("distance", table, against, *found, rests_on=rests_on, encoder=self.features.encoder)

    def _acceptance(self, table: str, real: str | None) -> Iterator[Measurement]:
        from reidsynth.quality.acceptance import few

        if self.acceptance is None:
            self.notes.append("the acceptance test was not run: name a frozen encoder with --encoder")
            return
        encoder = self.acceptance.encoder
        if "rgb" not in self.manifest.tables:
            self.notes.append("the acceptance test was not run: the manifest holds no photographs to search")
            return
        if self.manifest.tables[table].modality == "text" and encoder.text is None:
            self.notes.append(f"{table} was not tested: {encoder.name} reads no text; give --encoder a CLIP")
            return
        found = self.acceptance.found(table)
        if found is None:
            self.notes.append(f"{table} was not tested: no photograph answers a row of {self.split!r}")
            return
        numbers, chance = found
        others = [self.acceptance.found(name) for name in (real, "rgb") if name is not None]
        beside = (*(other[0] for other in others if other is not None), chance)
        warnings = few(numbers, self.acceptance.people[table])
        rests_on = ["rgb", *([real] if real else [])]
        yield self._measurement(
            "acceptance", table, "rgb", numbers, beside, warnings, rests_on=rests_on, encoder=encoder
        )

    def _measurement(
        self,
        kind: Kind,
        table: str,
        against: str,
        found: Numbers,
        beside: tuple[Numbers, ...],
        warnings: tuple[str, ...],
        *,
        rests_on: Sequence[str],
        encoder: Encoder | None = None,
    ) -> Measurement:
        """One measurement for the card; it is stale once the table, or one that it rests on, has other rows."""
        tables = dict.fromkeys(("captures", table, *rests_on))
        return Measurement(
            kind=kind,
            table=table,
            against=against,
            split=self.split,
            found=found,
            beside=beside,
            network="" if encoder is None else encoder.name,
            weights={} if encoder is None else encoder.weights,
            seed=self.asked.seed,
            warnings=warnings,
            made_from={name: rows_checksum(self.manifest.info, name, self.split) for name in tables},
        )


def _split(manifest: Manifest, wanted: str | None) -> str:
    if wanted is None:
        return "test" if "test" in manifest.splits else manifest.splits[-1]
    if wanted not in manifest.splits:
        raise UserError(f"{manifest.path} has no split {wanted!r}: it holds {', '.join(manifest.splits)}")
    return wanted


def _tables(manifest: Manifest, wanted: Sequence[str]) -> list[str]:
    made = [name for name, table in manifest.tables.items() if table.origin == "synthetic"]
    unknown = [name for name in wanted if name not in made]
    if unknown or not made:
        told = f"has no made table {unknown[0]!r}" if unknown else "has no made table to measure"
        raise UserError(f"{manifest.path} {told}: made by steps are {', '.join(made) or 'none; run one first'}")
    return list(dict.fromkeys(wanted)) or made


def _check_numbers(asked: Questions) -> None:
    for option, value in (("--rows", asked.rows), ("--people", asked.people)):
        if value < 2:
            raise UserError(f"{option} is {value}: it must be at least 2")
    if not 0 <= asked.seed < 2**63:
        raise UserError(f"--seed is {asked.seed}: it must be at least 0 and less than 2^63")


def _device(wanted: str) -> str:
    from reidsynth.steps.networks import torch_device

    if wanted not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {wanted!r} is not known: it is one of auto, cpu, cuda")
    return str(torch_device(cast("Device", wanted)))


def _references(given: Sequence[str]) -> dict[str, tuple[Manifest, str]]:
    """Modality -> manifest and table; of each modality one."""
    found: dict[str, tuple[Manifest, str]] = {}
    for text in given:
        modality, place = _reference(text)
        if modality in found:
            raise UserError(f"--reference {text!r} is the second one of {modality}: give one for each modality")
        found[modality] = place
    return found


def _reference(text: str) -> tuple[str, tuple[Manifest, str]]:
    """Modality -> manifest and table."""
    place, colon, table = text.rpartition(":")
    if not colon or not place or not table:
        raise UserError(f"--reference {text!r} is not valid: write MANIFEST:table, for example data/llvip:ir")
    manifest = open_manifest(Path(place))
    if table not in manifest.tables:
        raise UserError(f"--reference: {place} has no table {table!r}: it holds {', '.join(sorted(manifest.tables))}")
    found = manifest.tables[table]
    if found.modality == "text" or found.origin != "real":
        raise UserError(f"--reference: table {table!r} of {place} is {found.origin} {found.modality}: name real images")
    return found.modality, (manifest, table)
