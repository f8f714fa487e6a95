"""rembg's model registry: finds a model's file, checks it, opens it, and learns how rembg prepares its input."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from reidsynth.errors import UserError, reason
from reidsynth.steps import onnx_sizes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reidsynth.steps.networks import Device


_MULTIPLES = (32, 64)
"""What the sides of a canvas are multiples of: networks halve them five times, and some six times."""


@dataclass(frozen=True)
class Network:
    """A loaded model and how rembg prepares its input.

    Args:
        name: of its file.
        session: ONNX Runtime session.
        mean: that rembg subtracts, of each channel in 0..1.
        std: that it divides by.
        size: width and height that it was made for.
        batch: photographs in one run; 1 where the model was exported so.
        logits: whether a sigmoid is still to come.
        canvases: narrower canvases, width and height, that it takes as well.
    """

    name: str
    session: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]
    batch: int
    logits: bool
    canvases: tuple[tuple[int, int], ...] = ()

    def probabilities(self, stack: np.ndarray) -> np.ndarray:
        """Run on prepared photographs (N, 3, h, w) of one canvas; returns float32 (N, h', w').

        Raises:
            UserError: the network does not give a map for each of them.
        """
        given = self.session.get_inputs()[0]
        kind = np.float16 if given.type == "tensor(float16)" else np.float32
        parts = [stack[first : first + self.batch] for first in range(0, len(stack), self.batch)]
        found = [self._answer(given.name, part.astype(kind, copy=False))[:, 0] for part in parts]
        raw = np.concatenate(found).astype(np.float32)
        if self.logits:
            return np.asarray(1.0 / (1.0 + np.exp(-np.clip(raw, -60.0, 60.0))), dtype=np.float32)
        return raw

    def _answer(self, given: str, part: np.ndarray) -> np.ndarray:
        try:
            answer: np.ndarray = self.session.run([self.session.get_outputs()[0].name], {given: part})[0]
        except Exception as error:
            onnx_sizes.raise_want_of_memory(error)
            raise UserError(
                f"{self.name} can't take {len(part)} photographs of shape {part.shape[1:]} at once ({reason(error)}): "
                "export the network for any batch, or for a batch of 1"
            ) from error
        if answer.ndim != 4 or len(answer) != len(part):
            raise UserError(
                f"{self.name} answers {len(part)} photographs with an array of shape {answer.shape}, which is not "
                "(photographs, 1, height, width): give a network that makes masks, for any batch or for a batch of 1"
            )
        return answer

    def prepared(self, square: np.ndarray) -> np.ndarray:
        """A photograph (h, w, 3) as the network takes it (3, h, w): over its largest value, then standardised."""
        import cv2

        values = np.arange(256)[:, None] / max(int(square.max()), 1e-6)
        table = ((values - np.array(self.mean)) / np.array(self.std)).astype(np.float32)
        planes = zip(cv2.split(square), table.T, strict=True)
        return np.stack([cv2.LUT(plane, np.ascontiguousarray(levels)[None]) for plane, levels in planes])


def find(model: str, file: str | None, *, check: bool = True) -> Path:
    """Find a model's file: the one given, or rembg's own, which rembg downloads if it must.

    Args:
        model: name in rembg's registry.
        file: path given by the user.
        check: whether to compare rembg's own file with the checksum in its registry.

    Raises:
        UserError: there is none, it can't be fetched, or it is damaged.
    """
    if file is not None:
        if not Path(file).expanduser().is_file():
            raise UserError(f"file={file!r} for the model {model!r} does not exist: pass the path of its ONNX file")
        return Path(file).expanduser()
    session = _session_class(model)
    existing = session.resolve_existing(f"{model}.onnx")
    if existing is not None:
        if check:
            _check(Path(existing), session)
        return Path(existing)
    try:
        return Path(session.download_models())
    except Exception as error:  # noqa: BLE001 - requests, pooch and rembg raise many kinds; each means "not to be had"
        raise UserError(
            f"the model {model!r} needs the file {model}.onnx, which is not on this machine and can't be fetched "
            f"({reason(error)}): put it at {Path(session.model_dir()) / model}.onnx, or pass its path as "
            "--set file=PATH"
        ) from None


@dataclass(frozen=True)
class Options:
    """How to open a model.

    Args:
        device: where to run it.
        threads: that it may use on a CPU.
        logits: whether a network of the user's leaves out its last sigmoid.
        batch: photographs in one run, where the model takes more than one.
        narrow: whether to look if the model takes narrower canvases than the one it was made for.
    """

    device: Device
    threads: int
    logits: bool
    batch: int
    narrow: bool = False


def load(model: str, file: str | None, options: Options) -> Network:
    """Open a model through rembg's session class.

    Args:
        model: name in rembg's registry.
        file: path given by the user, None for rembg's own.
        options: how to open it.

    Raises:
        UserError: the file is no such model, or CUDA is asked for and missing.
    """
    path = find(model, file, check=False)
    registered = _session_class(model)

    class Local(registered):  # type: ignore[misc, valid-type] # a class of the registry, known when it runs
        """The model from a path that was found already, wherever it lies."""

        @classmethod
        def download_models(cls, *args: Any, **kwargs: Any) -> str:  # noqa: ANN401 - the library's own signature
            del args, kwargs
            return str(path)

    try:
        providers = _providers(options.device)
        opened = Local(model, _session_options(options.threads), model_path=str(path), providers=providers)
    except UserError:
        raise
    except Exception as error:  # ONNX Runtime's errors share no public class
        raise UserError(f"{path.name} can't be opened as an ONNX model ({reason(error)})") from error
    session = opened.inner_session
    mean, std, size = _preparation(registered)
    shape = [given.shape for given in session.get_inputs()]
    if len(shape) != 1 or len(shape[0]) != 4 or shape[0][1] != 3 or (isinstance(shape[0][0], int) and shape[0][0] != 1):
        raise UserError(
            f"{path.name} takes inputs of shape {shape}, and {model!r} needs one of (N, 3, height, width): "
            "convert the model to that layout"
        )
    height, width = shape[0][2:]
    network = Network(
        name=path.name,
        session=session,
        mean=mean,
        std=std,
        size=(width, height) if isinstance(width, int) and isinstance(height, int) else size,
        batch=1 if isinstance(shape[0][0], int) else options.batch,
        logits=options.logits or hasattr(registered, "sigmoid"),
    )
    return _narrowed(network, path, options) if options.narrow else network


def _narrowed(network: Network, path: Path, options: Options) -> Network:
    """The network with the narrower canvases that it takes: none where its nodes hold it to its own."""
    tried = dict.fromkeys(_narrow_canvases(network.size, multiple) for multiple in _MULTIPLES)
    tried.pop((), None)
    if not tried:
        return network
    for session in _free_sessions(network, path, options):
        for canvases in tried:
            if all(onnx_sizes.takes(session, canvas) for canvas in canvases):
                return replace(network, session=session, canvases=canvases)
    sys.stderr.write(
        f"notice: {path.name} takes no canvas but its own, {network.size[0]}x{network.size[1]}: narrow photographs are "
        "letterboxed to it, as with fit=letterbox\n"
    )
    return network


def _narrow_canvases(size: tuple[int, int], multiple: int) -> tuple[tuple[int, int], ...]:
    """Seven tenths as wide, and seven tenths as high, where that leaves out anything once it is rounded up."""
    width, height = (-(-7 * side // (10 * multiple)) * multiple for side in size)
    both = (width, size[1]), (size[0], height)
    return tuple(canvas for canvas in both if canvas[0] <= size[0] and canvas[1] <= size[1] and canvas != size)


def _free_sessions(network: Network, path: Path, options: Options) -> Iterator[Any]:
    """Sessions that leave height and width open, the one that changes less first."""
    import onnxruntime

    given = network.session.get_inputs()[0]
    if not any(isinstance(size, int) for size in given.shape[2:]):
        yield network.session
        return
    quiet = _session_options(options.threads)
    quiet.log_severity_level = 4  # what does not fit is no error here
    for model in onnx_sizes.freed(path, given.name, network.size):
        try:
            session = onnxruntime.InferenceSession(model, quiet, providers=_providers(options.device))
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no public class; the file itself did open
            onnx_sizes.raise_want_of_memory(error)
            continue
        yield session


def _session_class(model: str) -> Any:  # noqa: ANN401 - the library ships no types
    with _without_compiling():
        from rembg.sessions import sessions

    found = sessions.get(model)
    if found is None:
        raise UserError(f"the installed rembg has no model {model!r}: it has {', '.join(sorted(sessions))}")
    if not found.is_local():
        raise UserError(f"the model {model!r} sends images to a remote service: choose one that runs on this machine")
    return found


@contextmanager
def _without_compiling() -> Iterator[None]:
    """Keep rembg's import from compiling pymatting, which takes half a minute and is not used here."""
    before = os.environ.get("NUMBA_DISABLE_JIT")
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    try:
        yield
    finally:
        os.environ.pop("NUMBA_DISABLE_JIT")
        if before is not None:
            os.environ["NUMBA_DISABLE_JIT"] = before


class _ToldError(Exception):
    """Carries how a session prepares its input out of its `predict`."""


def _preparation(session: Any) -> tuple[tuple[float, ...], tuple[float, ...], tuple[int, int]]:  # noqa: ANN401 - untyped
    """Mean, std and size that a session class hands to `normalize`; rembg keeps them nowhere else."""
    from PIL import Image

    class Asked(session):
        def __init__(self) -> None:
            self.inner_session = SimpleNamespace(run=None)

        def normalize(self, img: Any, mean: Any, std: Any, size: Any, *rest: Any, **more: Any) -> Any:  # noqa: ANN401 - the library's own signature
            del img, rest, more
            raise _ToldError(mean, std, size)

    try:
        Asked().predict(Image.new("RGB", (8, 8)))
    except _ToldError as told:
        mean, std, size = told.args
        return tuple(mean), tuple(std), (int(size[0]), int(size[1]))
    raise UserError("the installed rembg prepares its input in an unknown way: install rembg 2.0.60 to 2.0.86")


def _session_options(threads: int) -> Any:  # noqa: ANN401 - the library ships no types
    """ONNX Runtime would take every core of the machine for each worker."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _providers(device: Device) -> list[str]:
    import onnxruntime

    there = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device == "cuda" and not there:
        raise UserError(
            "device 'cuda' was asked for and this ONNX Runtime has no CUDA: install onnxruntime-gpu in place of "
            "onnxruntime, or use device=cpu"
        )
    return ["CUDAExecutionProvider", "CPUExecutionProvider"] if there and device != "cpu" else ["CPUExecutionProvider"]


def _check(path: Path, session: Any) -> None:  # noqa: ANN401 - the library ships no types
    """Compare a file with rembg's registry; rembg itself trusts whatever lies under the right name."""
    import pooch

    known = _registered_checksum(session)
    if known is None:
        return
    algorithm, _, expected = known.rpartition(":")
    found = pooch.file_hash(str(path), alg=algorithm or "sha256")
    if found != expected:
        raise UserError(
            f"{path} is not the model that rembg publishes (its {algorithm} is {found}, not {expected}): delete it and "
            "run this again, or pass it as --set file=PATH if you mean to use it"
        )


def _registered_checksum(session: Any) -> str | None:  # noqa: ANN401 - the library ships no types
    """What rembg would compare a download with; None where it compares nothing. Nothing is downloaded here."""
    import pooch

    class Absent(session):
        @classmethod
        def resolve_existing(cls, fname: str, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the library's own
            del fname, args, kwargs

    told: list[str | None] = []

    def note(url: str, known_hash: str | None = None, **rest: Any) -> None:  # noqa: ANN401 - the library's own
        del url, rest
        told.append(known_hash)

    retrieve = pooch.retrieve
    pooch.retrieve = note
    try:
        Absent.download_models()
    except ImportError:  # a model that is converted from another one after its download
        return None
    finally:
        pooch.retrieve = retrieve
    return told[0] if told else None
