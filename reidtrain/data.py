"""Manifest -> one data set of any modalities. The only module that imports `reidsynth`.

One class serves every combination of modalities: which modalities a row has is data (`present`), never a subclass. Each
modality is read from the first table of its preference list that holds the row, so a real sketch goes before a
synthetic one, and a manifest with half of its sketches drawn by hand needs no special case.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from reidtrain.batch import IMAGE_MODALITIES
from reidtrain.errors import UserError
from reidtrain.items import Item, collate
from reidtrain.lineage import source_images
from reidtrain.preference import ONLINE_CA, ONLINE_LINEART, Places, Source, TableChoice
from reidtrain.sampler import Draw, IdentityIndex
from reidtrain.transforms import Changes, raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from reidsynth.manifest import Manifest, TableReader
    from reidtrain.transforms import ImageTransform

__all__ = ["DEFAULT_TABLES", "ONLINE_CA", "ONLINE_LINEART", "Item", "ReIDDataset", "collate", "decode", "open_manifest"]

DEFAULT_TABLES: Mapping[str, tuple[str, ...]] = {
    "rgb": ("rgb",),
    "ir": ("ir", "ir-gan", "ir-ca"),
    "sketch": ("sketch", "sketch-colour-pencil", "sketch-unireid", "sketch-lineart", "sketch-lineart-standard"),
    "text": ("text", "text-spac", "text-template"),
}

_CAPTURE_COLUMNS = ("sample_id", "dataset", "pid", "camid", "role", "modality", "source_path", "derived_from")


@contextmanager
def _as_our_error() -> Iterator[None]:
    from reidsynth.errors import UserError as ManifestError

    try:
        yield
    except ManifestError as error:
        raise UserError(str(error)) from error


def open_manifest(path: str | Path) -> Manifest:
    """Open a manifest, with this package's errors.

    Raises:
        UserError: when there is no manifest, or it is damaged or of another version.
    """
    from reidsynth import open_manifest as opened

    with _as_our_error():
        return opened(path)


def shared_photographs(first: str, second: str) -> frozenset[str]:
    """Data sets whose photographs two data sets both hold, by their owners' word (`reidsynth.containment`)."""
    from reidsynth.containment import on_record

    return on_record(first, second)


class ReIDDataset(Dataset[Item]):
    """Rows of one split of any number of manifests, any modalities.

    Identities of different data sets never share a label: a label is the number of a (data set, pid) within the split.
    A modality whose gate verdict is not `pass` counts as absent unless `accept_failed` is set.

    Args:
        manifests: one manifest folder or several.
        split: of each manifest.
        tables: modality -> tables in order of preference; modalities that are not named are not read. Tables that no
            manifest has are passed over as long as one of the list exists. See `reidtrain.preference`.
        transform: pixels -> tensor.
        tokenize: captions -> (N, L) token ids.
        cache: keep decoded, resized pixels in memory (per worker).
        accept_failed: use rows that failed their gate.
        seed: of the augmentation.

    Attributes:
        sample_ids, roles, datasets, source_paths: (N,) strings.
        captured: (N,) modality that the camera or the artist gave.
        pids, camids: (N,) int64; camid -1 where there is none.
        labels: (N,) int64, contiguous from 0.
        image_ids: (N,) int64; rows that come from one photograph share it.
        present: modality -> (N,) bool.
        origin: modality -> (N,) "real", "synthetic" or "" where absent.
        caption_counts: (N,) int64.

    Raises:
        UserError: when a manifest, its split or a modality is missing.
    """

    def __init__(
        self,
        manifests: str | Path | Sequence[str | Path],
        split: str,
        *,
        tables: Mapping[str, Sequence[str]],
        transform: ImageTransform,
        tokenize: Callable[[list[str]], torch.Tensor],
        cache: bool = False,
        accept_failed: bool = False,
        seed: int = 0,
    ) -> None:
        paths = [manifests] if isinstance(manifests, str | Path) else list(manifests)
        self.paths = [Path(path) for path in paths]
        self.split = split
        self.transform = transform
        self.seed = seed
        self._tokenize = tokenize
        self._cache: dict[tuple[int, int], np.ndarray] | None = {} if cache else None
        self._tokens: dict[tuple[int, int], torch.Tensor] = {}
        self._no_tokens = torch.zeros_like(tokenize([""])[0])
        self._manifests = [open_manifest(path) for path in self.paths]
        self._readers: dict[tuple[int, str], TableReader] = {}
        self._process = os.getpid()
        _check_split(self._manifests, self.paths, split)
        with _as_our_error():
            self._read_captures()
            places = Places(self._manifests, self.paths, split, self._owner, self._local, self.datasets)
            self.choice = TableChoice(places, tables, accept_failed=accept_failed)
        self.modalities = tuple(self.choice.number)
        self.present, self.origin = self.choice.present, self.choice.origin
        self.caption_counts = self.choice.caption_counts

    def _read_captures(self) -> None:
        columns: dict[str, list[Any]] = {name: [] for name in _CAPTURE_COLUMNS}
        owners: list[np.ndarray] = []
        for number, manifest in enumerate(self._manifests):
            captures = manifest.captures(self.split)
            for name in _CAPTURE_COLUMNS:
                columns[name].extend(captures.column(name).to_pylist())
            owners.append(np.full(captures.num_rows, number, dtype=np.int64))
        self._owner = np.concatenate(owners)
        self._local = np.concatenate([np.arange(len(owner)) for owner in owners])
        self.sample_ids = np.asarray(columns["sample_id"], dtype=np.str_)
        self._check_distinct()
        self.datasets = np.asarray(columns["dataset"], dtype=np.str_)
        self.roles = np.asarray(columns["role"], dtype=np.str_)
        self.captured = np.asarray(columns["modality"], dtype=np.str_)
        self.source_paths = np.asarray(columns["source_path"], dtype=np.str_)
        self.pids = np.asarray(columns["pid"], dtype=np.int64)
        self.camids = np.asarray([-1 if camid is None else camid for camid in columns["camid"]], dtype=np.int64)
        _, codes = np.unique(self.datasets, return_inverse=True)
        identities = np.stack([codes, self.pids], axis=1)
        _, labels = np.unique(identities, axis=0, return_inverse=True)
        self.labels = labels.reshape(-1).astype(np.int64)
        self.image_ids = source_images(columns["sample_id"], columns["derived_from"])

    def _check_distinct(self) -> None:
        """Refuse a capture that two manifests hold: their people would be taken for the same ones, and be no more."""
        if len(self.paths) == 1:
            return
        order = np.argsort(self.sample_ids, kind="stable")
        twice = np.flatnonzero(self.sample_ids[order[1:]] == self.sample_ids[order[:-1]])
        if len(twice):
            first, second = (self.paths[self._owner[order[twice[0] + shift]]] for shift in (0, 1))
            sample = self.sample_ids[order[twice[0]]]
            raise UserError(
                f"{first} and {second} both hold {sample} in split {self.split!r}, and people are told apart by data "
                "set and number: give one of the two, or ingest one under another dataset name"
            )

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, draw: Draw) -> Item:
        """Load what a sampler drew, augmented; see `reidtrain.sampler.Draw`."""
        return self._item(draw.rows, label=draw.label, caption=draw.caption, epoch=draw.epoch)

    def load(self, row: int, modalities: Sequence[str] | None = None, *, caption: int = 0) -> Item:
        """Load one row without augmentation.

        Args:
            row: number of the row.
            modalities: those wanted; all of the data set's by default.
            caption: which of the row's captions.

        Returns:
            The item; a modality that the row lacks has `present` False.

        Raises:
            UserError: when a modality was never configured, or an image is damaged.
        """
        wanted = self.modalities if modalities is None else tuple(modalities)
        return self._item(dict.fromkeys(wanted, row), label=int(self.labels[row]), caption=caption, epoch=None)

    def _item(self, rows: Mapping[str, int], *, label: int, caption: int, epoch: int | None) -> Item:
        images: dict[str, torch.Tensor] = {}
        tokens: torch.Tensor | None = None
        present: dict[str, bool] = {}
        undrawn: Changes | None = None
        for modality, row in rows.items():
            present[modality] = row >= 0 and bool(self._available(modality)[row])
            if modality == "text":
                tokens = self._token_ids(row, caption) if present[modality] else self._no_tokens
            elif present[modality]:
                images[modality], changes = self._image(row, modality, epoch)
                undrawn = undrawn or changes
        first = rows.get("rgb", -1)
        anchor = first if first >= 0 else max(rows.values())
        return Item(images, tokens, present, label, int(self.image_ids[anchor]), undrawn)

    def _available(self, modality: str) -> np.ndarray:
        try:
            return self.present[modality]
        except KeyError:
            raise UserError(
                f"modality {modality!r} was asked for, but only {', '.join(self.modalities)} are configured: "
                f"add data.tables.{modality}"
            ) from None

    def _image(self, row: int, modality: str, epoch: int | None) -> tuple[torch.Tensor, Changes | None]:
        """The image of a row, augmented in an epoch; of a sketch yet to be drawn the photograph, and its changes."""
        from reidsynth.draws import sample_rng

        number = int(self.choice.number[modality][row])
        online = self.choice.sources[number].online
        key = (number, row)
        fitted = None if self._cache is None else self._cache.get(key)
        if fitted is None:
            fitted = self.transform.fit(self.pixels(row, modality))
            if self._cache is not None:
                self._cache[key] = fitted
        if epoch is None and online != ONLINE_CA:
            return (raw(fitted), Changes()) if online else (self.transform(fitted, modality=modality), None)
        rng = sample_rng(self.seed, str(self.sample_ids[row]), ONLINE_CA if epoch is None else f"{modality}/{epoch}")
        recipe = "" if epoch is None else modality
        if online == ONLINE_LINEART:
            return raw(fitted), self.transform.changes(recipe, rng)
        return self.transform(fitted, modality=recipe, rng=rng, channel="replicate" if online else None), None

    def pixels(self, row: int, modality: str) -> np.ndarray:
        """Decode the image of a row.

        Args:
            row: number of the row.
            modality: `rgb`, `ir` or `sketch`; of one that is made in training the photograph comes.

        Returns:
            uint8 (H, W, 3) of the stored size; grey images have three equal channels.

        Raises:
            UserError: when the row lacks the modality or its bytes can't be decoded.
        """
        if modality not in IMAGE_MODALITIES or not self._available(modality)[row]:
            raise UserError(f"{self.sample_ids[row]} has no image of modality {modality!r}: look at `present` first")
        source = self.choice.of(modality, row)
        with _as_our_error():
            cell = self._reader(source)[int(self._local[row])]["image"]
        image = decode(cell["bytes"]) if cell and cell.get("bytes") else None
        if image is None:
            raise UserError(
                f"the {source.table} image of {self.sample_ids[row]} in {self.paths[source.manifest]} can't be decoded "
                "although its verdict is pass: validate the manifest with `reidsynth validate`"
            )
        return image

    def captions(self, row: int) -> list[str]:
        """Captions of a row, empty where it has none."""
        number = int(self.choice.number["text"][row]) if "text" in self.modalities else -1
        return [] if number < 0 else list(self.choice.captions[number][int(self._local[row])].as_py())

    def _token_ids(self, row: int, caption: int) -> torch.Tensor:
        key = (row, caption)
        if key not in self._tokens:
            self._tokens[key] = self._tokenize([self.captions(row)[caption]])[0]
        return self._tokens[key]

    def _reader(self, source: Source) -> TableReader:
        """The table as this process opened it: open files don't survive a fork."""
        if self._process != os.getpid():
            self._readers, self._process = {}, os.getpid()
        key = (source.manifest, source.table)
        if key not in self._readers:
            self._readers[key] = self._manifests[source.manifest].table(source.table, self.split)
        return self._readers[key]

    @cached_property
    def lists(self) -> dict[str, dict[str, Any]]:
        """Lists that the manifests keep for evaluation: data set -> name -> JSON value."""
        found: dict[str, dict[str, Any]] = {}
        with _as_our_error():
            for manifest in self._manifests:
                for name in sorted(set(self.datasets.tolist())):
                    found.setdefault(name, {}).update(manifest.protocol(name))
        return found

    def index(self) -> IdentityIndex:
        """What a sampler needs to know."""
        counts = self.caption_counts if "text" in self.present else None
        real = {modality: origins == "real" for modality, origins in self.origin.items()}
        return IdentityIndex(self.labels, self.present, counts, real, self.datasets)

    @property
    def checksum(self) -> str:
        """Checksum of the data in use: captures and tables of this split; tables added later don't change it."""
        digest = hashlib.sha256()
        for number, manifest in enumerate(self._manifests):
            names = sorted({"captures"} | {source.table for source in self.choice.sources if source.manifest == number})
            for shard in (shard for name in names for shard in manifest.info.shards_of(name)):
                if shard.split == self.split:
                    digest.update(f"{number} {shard.file} {shard.sha256}\n".encode())
        return digest.hexdigest()

    def describe(self) -> dict[str, dict[str, int]]:
        """Count the rows that each table serves: modality -> table -> rows."""
        return self.choice.describe()


def decode(encoded: bytes) -> np.ndarray | None:
    """Decode JPEG or PNG bytes to uint8 (H, W, 3) RGB; None where they are damaged."""
    import cv2

    image: np.ndarray | None = cv2.imdecode(np.frombuffer(encoded, dtype=np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _check_split(manifests: Sequence[Manifest], paths: Sequence[Path], split: str) -> None:
    for manifest, path in zip(manifests, paths, strict=True):
        if split not in manifest.splits:
            raise UserError(
                f"the manifest {path} has no split {split!r}: it has {', '.join(manifest.splits)}; choose one of them"
            )
