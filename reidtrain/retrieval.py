"""Search the photographs of a manifest with any mix of text, sketch, infrared and photograph.

The gallery's features are kept in the run folder, `RUN/index/<key>.safetensors`, under a key made of the checkpoint's
files and the data's checksum: another checkpoint or another manifest never finds them.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from reidtrain.batch import LETTERS, Batch
from reidtrain.data import ReIDDataset, collate, decode
from reidtrain.errors import UserError
from reidtrain.evaluate import evaluation_data, evaluation_transform
from reidtrain.features import Encoder, Features
from reidtrain.hardware import choose_device
from reidtrain.items import Item
from reidtrain.metrics import cosine
from reidtrain.protocols import GALLERY_ROLES, NO_CAPTION

if TYPE_CHECKING:
    from reidtrain.backbones import DualEncoder
    from reidtrain.checkpoint import LoadedRun

PHOTOGRAPH = ("rgb",)


@dataclass(frozen=True)
class Hit:
    """One photograph that answers a query.

    Args:
        rank: from 1.
        score: cosine similarity.
        sample_id: of the capture.
        pid: its person number in its data set.
        camid: its camera number, None where there is none.
        image: uint8 (H, W, 3), for pictures.
    """

    rank: int
    score: float
    sample_id: str
    pid: int
    camid: int | None
    image: np.ndarray = field(repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """JSON values, without the image."""
        return {name: getattr(self, name) for name in ("rank", "score", "sample_id", "pid", "camid")}


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for: any of a sentence and image files, at least one.

    Args:
        text: a sentence.
        sketch: an image file.
        ir: an image file.
        rgb: an image file.

    Raises:
        UserError: when nothing is given.
    """

    text: str | None = None
    sketch: str | Path | None = None
    ir: str | Path | None = None
    rgb: str | Path | None = None

    def __post_init__(self) -> None:
        if not self.modalities:
            raise UserError("the query is empty: give at least one of text, sketch, ir and rgb")
        if self.text is not None and not self.text.strip():
            raise UserError("the query's text is empty: write a sentence, or leave it out and give an image")

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that are given, in the order T, S, I, R."""
        return tuple(modality for modality in LETTERS if getattr(self, modality) is not None)

    def images(self) -> dict[str, np.ndarray]:
        """Read the image files: modality -> uint8 (H, W, 3).

        Raises:
            UserError: when a file is missing or is no image.
        """
        return {name: read_image(getattr(self, name), name) for name in self.modalities if name != "text"}


def search(  # noqa: PLR0913 - one argument for each modality
    run: str | Path,
    manifest: str | Path,
    *,
    text: str | None = None,
    sketch: str | Path | None = None,
    ir: str | Path | None = None,
    rgb: str | Path | None = None,
    top: int = 10,
    split: str = "test",
    device: str | torch.device | None = None,
    note: Callable[[str], None] = warnings.warn,
) -> list[Hit]:
    """Search a manifest's photographs.

    Args:
        run: the run folder, or one of its checkpoints.
        manifest: the manifest's folder.
        text: a sentence.
        sketch: an image file; so are the next two.
        ir: infrared.
        rgb: a photograph.
        top: how many answers, at most.
        split: of the manifest; its gallery is searched, all of its photographs where no row has that role.
        device: where the model runs; None takes a GPU where there is one.
        note: told in a sentence which words of the text the encoder does not know.

    Returns:
        The answers, best first; of equal scores the one that stands first in the manifest.

    Raises:
        UserError: for an empty query, a file that can't be read, a text without a known word, a modality mix that the
            model does not take, or a run or manifest that can't be opened.
    """
    from reidtrain.checkpoint import load_run

    query = Query(text, sketch, ir, rgb)
    query.images()  # tells of a wrong file before the model is loaded
    return GalleryIndex.open(load_run(run, choose_device(device)), manifest, split).search(query, top=top, note=note)


@dataclass(frozen=True, eq=False)
class GalleryIndex:
    """The photographs of a split with their features, ready for any number of queries.

    Args:
        loaded: the model.
        dataset: the split.
        rows: (G,) rows that can be found.
        features: (G, D) float32, on the CPU.
    """

    loaded: LoadedRun
    dataset: ReIDDataset
    rows: np.ndarray
    features: Tensor

    @classmethod
    def open(cls, loaded: LoadedRun, manifest: str | Path, split: str = "test") -> GalleryIndex:
        """Read the features of a split's gallery, or compute and keep them.

        Args:
            loaded: a model from `load_run`.
            manifest: the manifest's folder.
            split: which split.

        Returns:
            The index.

        Raises:
            UserError: when the split has no photographs.
        """
        dataset = evaluation_data(loaded, manifest, split, ["R->R"])
        has_photo = dataset.present["rgb"]
        in_gallery = has_photo & np.isin(dataset.roles, GALLERY_ROLES)
        rows = np.flatnonzero(in_gallery if in_gallery.any() else has_photo)
        if not len(rows):
            raise UserError(f"split {split!r} of {manifest} has no photograph to search: choose another split")
        file = _index_file(loaded, dataset)
        features = _read(file, rows)
        if features is None:
            store = Features(
                cast(Encoder, loaded.model), dataset, device=_device(loaded), workers=loaded.config.data.workers
            )
            store.compute_units({(int(row), NO_CAPTION): {PHOTOGRAPH} for row in rows})
            features = store.of(PHOTOGRAPH, rows)
            _write(file, rows, features)
        return cls(loaded, dataset, rows, features)

    def search(self, query: Query, *, top: int = 10, note: Callable[[str], None] = warnings.warn) -> list[Hit]:
        """Answer a query; see `reidtrain.retrieval.search`."""
        if top < 1:
            raise UserError(f"top is {top}: ask for at least one answer")
        batch = query_batch(query, self.loaded.backbone, note).to(_device(self.loaded))
        with torch.inference_mode():
            wanted = cast(Encoder, self.loaded.model).encode(batch, query.modalities).float().cpu()
        scores = cosine(wanted, self.features)[0]
        order = scores.sort(descending=True, stable=True).indices[:top].tolist()
        return [self._hit(rank, place, float(scores[place])) for rank, place in enumerate(order, 1)]

    def _hit(self, rank: int, place: int, score: float) -> Hit:
        row = int(self.rows[place])
        camera = int(self.dataset.camids[row])
        return Hit(
            rank=rank,
            score=score,
            sample_id=str(self.dataset.sample_ids[row]),
            pid=int(self.dataset.pids[row]),
            camid=None if camera < 0 else camera,
            image=self.dataset.pixels(row, "rgb"),
        )


def query_batch(query: Query, backbone: DualEncoder, note: Callable[[str], None] = warnings.warn) -> Batch:
    """Turn a query into a batch of one.

    Args:
        query: what is searched for.
        backbone: gives transform and tokenizer.
        note: told which words the encoder does not know.

    Returns:
        The batch.

    Raises:
        UserError: when a file can't be read or no word of the text is known.
    """
    transform = evaluation_transform(backbone)
    images = {name: transform(image, modality=name) for name, image in query.images().items()}
    tokens = None
    if query.text is not None:
        tokens = backbone.tokenize([query.text])[0]
        unknown = list(dict.fromkeys(backbone.unknown_words(query.text)))
        if unknown and torch.equal(tokens, backbone.tokenize([""])[0]):
            raise UserError(
                f"none of the words of {query.text!r} is known to this encoder: describe the person's clothes"
            )
        if unknown:
            note(f"words that this encoder does not know were left out: {', '.join(unknown)}")
    return collate([Item(images, tokens, dict.fromkeys(query.modalities, True), 0, 0)])


def read_image(path: str | Path, modality: str = "rgb") -> np.ndarray:
    """Read an image file.

    Args:
        path: of a JPEG or PNG file.
        modality: what it is meant to show, for messages.

    Returns:
        uint8 (H, W, 3).

    Raises:
        UserError: when it is missing or is no image.
    """
    try:
        encoded = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{modality} image {path} can't be read ({error.strerror}): give an image file") from error
    image = decode(encoded) if encoded else None
    if image is None:
        raise UserError(f"{modality} image {path} can't be decoded ({len(encoded)} bytes): give a JPEG or PNG file")
    return image


def _device(loaded: LoadedRun) -> torch.device:
    return next(loaded.backbone.parameters()).device


def _index_file(loaded: LoadedRun, dataset: ReIDDataset) -> Path:
    """Where the features of this model and these data are kept."""
    digest = hashlib.sha256(dataset.checksum.encode())
    for path in sorted(loaded.path.iterdir()):
        if path.suffix in (".safetensors", ".json"):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return loaded.path.parent.parent / "index" / f"{digest.hexdigest()[:24]}.safetensors"


def _read(file: Path, rows: np.ndarray) -> Tensor | None:
    """Features from a file; None where there is none, or it is damaged or of other rows."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        kept = load_file(file)
        return kept["features"] if torch.equal(kept["rows"], torch.from_numpy(rows)) else None
    except (OSError, SafetensorError, KeyError):
        return None


def _write(file: Path, rows: np.ndarray, features: Tensor) -> None:
    """Keep features; a folder that can't be written only costs the next search its time."""
    from safetensors.torch import save_file

    temporary = file.with_name(f".{file.name}.writing-{os.getpid()}")
    try:
        file.parent.mkdir(exist_ok=True)
        save_file({"features": features.contiguous(), "rows": torch.from_numpy(rows)}, temporary)
        temporary.replace(file)
    except OSError:
        temporary.unlink(missing_ok=True)
