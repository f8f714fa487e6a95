"""Where aligned pairs come from: two folders, LLVIP, or the tables of a manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal, cast, get_args

from reidsynth import images, listing
from reidsynth.errors import UserError
from reidsynth.manifest import Manifest, TableInfo, TableReader, open_manifest
from reidsynth.naming import compile_pattern
from reidsynth.policy import Policy, Release, combined, policy_of
from reidsynth.schema import Record, Spectrum
from reidsynth.sources.llvip import Llvip
from reidsynth.steps import mask_table
from reidsynth.translator.pairs import HELD_OUT_SHARE, PLURALS, Background, Division, Pair, PairSet, Target, hold_out


@dataclass(frozen=True, slots=True)
class Stated:
    """What only the user knows about pairs in folders.

    Args:
        spectrum: of infrared targets.
        called: name of the data; by default the folders' names.
        licence: of the data: SPDX name or a sentence.
        release: how openly what the translator makes may be published; you answer for it.
    """

    spectrum: str | None = None
    called: str = ""
    licence: str = ""
    release: Release = "private"


class FolderPairs(PairSet):
    """Pairs of files with equal relative paths (but for the extension) in two folders.

    Args:
        photos: folder of photographs.
        targets: folder of infrared images or sketches.
        target: which of both.
        stated: what the files don't tell.
        pattern: of file names with `{pid}`, to hold out by person.
        held_out: share.

    Raises:
        UserError: a folder is missing, infrared without a spectrum, or a wrong pattern.
    """

    def __init__(
        self,
        photos: Path,
        targets: Path,
        *,
        target: Target,
        stated: Stated,
        pattern: str | None = None,
        held_out: float = HELD_OUT_SHARE,
    ) -> None:
        self.photos = listing.folder(photos, "the photographs")
        self.targets = listing.folder(targets, f"the {PLURALS[target]}")
        self.spectrum = _spectrum(stated.spectrum, target)
        self.held_out = held_out
        self.name = stated.called or f"{photos.resolve().name}+{targets.resolve().name}"
        about = "Pairs given as two folders; whoever trained on them knows where they come from."
        licence = stated.licence or "not stated; that of the folders' owner"
        self.terms = Policy(licence=licence, default_release=stated.release, note=about)
        try:
            self._pattern = None if pattern is None else compile_pattern(pattern)
        except ValueError as error:
            raise UserError(f"--pattern {pattern!r} {error}") from error

    def divide(self, seed: int) -> Division:
        """Match the files by name."""
        sides = [_by_stem(folder) for folder in (self.photos, self.targets)]
        both = sorted(sides[0].keys() & sides[1].keys())
        if not both:
            shown = [next(iter(side.values()), "nothing") for side in sides]
            raise UserError(
                f"no file in {str(self.photos)!r} has a partner of the same name in {str(self.targets)!r}: there are "
                f"{shown[0]!r} and {shown[1]!r}; give two folders whose files have equal names"
            )
        dropped: Counter[str] = Counter()
        for side, what in zip(sides, ("photograph", "target"), strict=True):
            dropped[f"{what} without a partner"] += len(side) - len(both)
        pairs = []
        for stem in both:
            files = sides[0][stem], sides[1][stem]
            group = self._group(stem, files[0])
            if group is None:
                dropped["photograph whose name the pattern does not match"] += 1
                continue
            stamps = (listing.file_stamp(self.photos, files[0]), listing.file_stamp(self.targets, files[1]))
            pairs.append(Pair(stem, group, " ".join(stamps), files))
        if not pairs:
            raise UserError(f"the pattern matches no photograph in {str(self.photos)!r}, such as {sides[0][both[0]]!r}")
        found = hold_out(pairs, self.held_out, seed, repr(str(self.photos)))
        return Division(*found, {reason: count for reason, count in dropped.items() if count})

    def encoded(self, pair: Pair) -> Mapping[str, bytes]:
        """Bytes of both files."""
        photo, target = pair.key
        try:
            return {"photo": (self.photos / photo).read_bytes(), "target": (self.targets / target).read_bytes()}
        except OSError as error:
            raise images.UnreadableImage(error.strerror or "file can't be read") from error

    def _group(self, stem: str, file: str) -> str | None:
        if self._pattern is None:
            return stem
        found = self._pattern.match(file)
        return None if found is None else found["pid"]


def _by_stem(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in listing.image_files(folder).files:
        stem = file.rpartition(".")[0]
        if stem in found:
            raise UserError(f"{found[stem]!r} and {file!r} in {str(folder)!r} have one name: remove one of them")
        found[stem] = file
    if not found:
        raise UserError(f"folder {str(folder)!r} holds no images: give the folder of the pairs")
    return found


def _spectrum(stated: str | None, target: Target) -> Spectrum | None:
    """The spectrum that the user states; needed for infrared images, and for nothing else."""
    if target == "sketch":
        return None
    if stated not in get_args(Spectrum):
        told = "is missing" if stated is None else f"{stated!r} is not known"
        raise UserError(
            f"--spectrum {told}: say nir (near infrared, as SYSU-MM01), lwir (thermal, as LLVIP and RegDB) or pseudo "
            "(made from colour), since files don't tell"
        )
    return cast("Spectrum", stated)


class LlvipPairs(PairSet):
    """LLVIP: the people in its boxes, or whole images; learned from its `train`, held out its `test` (other scenes).

    Args:
        root: as for the source `llvip`.
        view: `crops` or `pairs`.
    """

    def __init__(self, root: Path, view: Literal["crops", "pairs"] = "crops") -> None:
        self.source = Llvip(root=root, view=view)
        self.name, self.terms, self.spectrum = "llvip", self.source.policy, "lwir"

    def divide(self, seed: int) -> Division:
        """List both splits."""
        del seed
        learned, held_out = ([self._pair(r) for r in self.source.records(split)] for split in ("train", "test"))
        return Division(learned, held_out, dict(self.source.dropped()))

    def encoded(self, pair: Pair) -> Mapping[str, bytes]:
        """Bytes of both images, cut by the box."""
        content = self.source.read(pair.key)
        if content.errors:
            raise images.UnreadableImage(next(iter(content.errors.values())))
        return {"photo": content.images["rgb"], "target": content.images["ir"]}

    def _pair(self, record: Record) -> Pair:
        return Pair(record.sample_id, str(record.camid), self.source.stamp(record), record)


class ManifestPairs(PairSet):
    """Captures of a manifest that hold a photograph and the target.

    Args:
        path: of the manifest.
        target: `ir` or `sketch`.
        table: of the targets; None takes the real one, else the only one.
        split: to learn from.
        held_out: share of the people of that split, or the name of another split.
        background: `remove` erases it from the photographs with the manifest's masks.
        mask: table of these masks; None takes the one that a step made, else the real one.

    Raises:
        UserError: no such manifest, table or split, or no masks to erase the background with.
    """

    def __init__(
        self,
        path: Path,
        *,
        target: Target,
        table: str | None = None,
        split: str = "train",
        held_out: float | str = HELD_OUT_SHARE,
        background: Background = "keep",
        mask: str | None = None,
    ) -> None:
        self.manifest = open_manifest(path)
        info = _target_table(self.manifest, target, table)
        self.table, self.spectrum, self.split, self.held_out = info.name, info.spectrum, split, held_out
        self.name, self.background = self.manifest.info.name, background
        self._readers: dict[tuple[str, str], TableReader] = {}
        self._lock = Lock()
        self.mask = _mask(self.manifest, mask) if background == "remove" else None
        terms = [policy_of(self.manifest.info)]
        terms += [Policy.from_dict(info.step.terms)] if info.step is not None and info.step.terms else []
        self.terms = combined(terms)
        if held_out == split:
            raise UserError(f"--held-out {split!r} is the split to learn from: name another, or a share such as 0.1")
        for name in (split, *([held_out] if isinstance(held_out, str) else [])):
            if name not in self.manifest.splits:
                there = ", ".join(self.manifest.splits)
                raise UserError(f"{path} has no split {name!r}: it holds {there}; name one with --split or --held-out")

    def divide(self, seed: int) -> Division:
        """List the captures in which both tables passed their gates."""
        dropped: Counter[str] = Counter()
        learned = self._pairs(self.split, dropped)
        where = f"{str(self.manifest.path)!r}, split {self.split!r},"
        if isinstance(self.held_out, str):
            return Division(learned, self._pairs(self.held_out, dropped), dropped)
        return Division(*hold_out(learned, self.held_out, seed, where), dropped)

    def encoded(self, pair: Pair) -> Mapping[str, bytes]:
        """Bytes out of the tables."""
        split, row = pair.key
        tables = {"photo": "rgb", "target": self.table} | ({} if self.mask is None else {"mask": self.mask})
        return {side: self._bytes(table, split, row) for side, table in tables.items()}

    def _bytes(self, table: str, split: str, row: int) -> bytes:
        with self._lock:  # a reader keeps a cache, and pairs are read by several threads
            reader = self._readers.get((table, split))
            if reader is None:
                reader = self._readers[table, split] = self.manifest.table(table, split)
            found: bytes = reader[row]["image"]["bytes"]
        return found

    def _pairs(self, split: str, dropped: Counter[str]) -> list[Pair]:
        captures = self.manifest.captures(split).select(["sample_id", "dataset", "pid", "camid"]).to_pylist()
        names = ["rgb", self.table, *([] if self.mask is None else [self.mask])]
        verdicts = [self.manifest.table(name, split).columns(["verdict"]).column(0).to_pylist() for name in names]
        stamp = " ".join(s.content for name in names for s in self.manifest.info.shards_of(name) if s.split == split)
        found: list[tuple[int, Mapping[str, Any]]] = []
        for row, (capture, *told) in enumerate(zip(captures, *verdicts, strict=True)):
            lacking = [name for name, verdict in zip(names, told, strict=True) if verdict != "pass"]
            if lacking:
                dropped[f"capture without a good {lacking[0]!r}"] += 1
            else:
                found.append((row, capture))
        if not found:
            raise UserError(
                f"no capture of {str(self.manifest.path)!r}, split {split!r}, holds both 'rgb' and {self.table!r}: "
                "pairs are the two in one row, pixel on pixel; images of one person from two cameras are none"
            )
        groups = _groups([capture for _, capture in found])
        return [
            Pair(capture["sample_id"], group, stamp, (split, row))
            for (row, capture), group in zip(found, groups, strict=True)
        ]


def _groups(captures: Sequence[Mapping[str, Any]]) -> list[str]:
    """Who is on each row; the camera where everybody is seen once and there are several cameras."""
    people = [f"{capture['dataset']}/{capture['pid']}" for capture in captures]
    cameras = [f"{capture['dataset']}/camera {capture['camid']}" for capture in captures]
    seen_once = len(set(people)) == len(people)
    return cameras if seen_once and len(set(cameras)) > 1 else people


def _mask(manifest: Manifest, wanted: str | None) -> str:
    made = sorted(name for name, info in manifest.tables.items() if info.modality == "mask" and info.step is not None)
    if wanted is None and len(made) > 1:
        raise UserError(f"{manifest.path} holds several mask tables: {', '.join(made)}; name one with --mask")
    return mask_table("train-ir-gan", wanted, manifest.tables)


def _target_table(manifest: Manifest, target: Target, wanted: str | None) -> TableInfo:
    tables = {name: info for name, info in manifest.tables.items() if info.modality == target}
    if "rgb" not in manifest.tables or not tables:
        there = ", ".join(sorted(manifest.tables))
        raise UserError(
            f"{manifest.path} does not hold photographs and {PLURALS[target]} (tables there: {there}): give a manifest "
            "that holds both, for example one of `reidsynth demo`"
        )
    if wanted is None and target not in tables and len(tables) > 1:
        raise UserError(f"{manifest.path} holds several: {', '.join(tables)}; name one with --table")
    name = wanted or (target if target in tables else next(iter(tables)))
    if name not in tables:
        raise UserError(f"{manifest.path} has no {target} table {name!r}: it holds {', '.join(tables)}")
    return tables[name]
