"""Masks by networks: stretched against letterboxed, and images per second against `rembg.remove`.

    OMP_NUM_THREADS=1 NUMBA_DISABLE_JIT=1 python benchmarks/masks.py --masks DIR --model person.onnx

DIR holds `canvas` and `coco` (benchmarks/person_masks.py); the model is a person segmentation network that takes
rembg's `u2net_custom` input, 1x3x320x320. Without them only the speed of the heavy network is measured, whose weights
are random: a U-Net of 20 million parameters that this script writes itself, as costly as U2-Net. Time is CPU time of
one process with one thread, the best of some rounds, both on decoded photographs and with the same preparation.

Measured on a 2-core machine (AMD EPYC, Zen 4) while other jobs ran on it, with MediaPipe's selfie segmentation:

    | masks | images | square: IoU | letterbox: IoU |
    |---|---|---|---|
    | composites, 5% margin | 9 | 0.939 | 0.926 |
    | photographs, 5% margin | 5 | 0.660 | 0.751 |
    | composites, 12% margin | 9 | 0.931 | 0.916 |
    | photographs, 12% margin | 5 | 0.657 | 0.729 |
    | drawn people 128x64 | 64 | 0.845 | 0.854 |
    | drawn people 256x128 | 64 | 0.912 | 0.908 |

The composites are as wide as high, and stretching does better there by .014; the photographs show people in narrow
crops, as re-identification does, and there the letterbox finds .08 more. It is the default. With black around the
photograph in place of its repeated border the photographs gave .705 and .709.

    | network | rembg.remove ms | ours ms | times | prepare ms | network ms | mask ms |
    |---|---|---|---|---|---|---|
    | light (selfie_rembg.onnx) | 7.8 | 6.3 | 1.24 | 2.1 | 3.1 | 0.3 |
    | heavy (20 M) | 1486.7 | 1485.0 | 1.00 | 2.3 | 1472.2 | 0.6 |

A light network leaves half of the time to the work around it, which is what gets cheaper; a heavy one is the time, and
no code around it can make it faster. Both models here take one photograph a run, as rembg's own do.

On all cores, by the clock, without other load, the heavy network: rembg.remove with one session on two cores 1.156
images/s, one worker on each core 1.145, .99 times; so nothing is gained there either.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from person_masks import known_sets, overlap
from steps import SIZES, drawn

from reidsynth.engines import LocalEngine
from reidsynth.schema import Sample
from reidsynth.steps import build_step, segmentation
from reidsynth.steps.networks import loaded

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "reidsynth"))

from tiny_weights import field, tensor, value

SIDE = 320
PHOTOS = 16
DRAWN = 64


class Graph:
    """Writes a network as ONNX, layer by layer."""

    def __init__(self) -> None:
        self.nodes: list[bytes] = []
        self.tensors: list[bytes] = []
        self.parameters = 0
        self.rng = np.random.default_rng(0)

    def node(self, kind: str, inputs: list[str], *attributes: bytes) -> str:
        """Add a node; returns the name of its output."""
        name = f"t{len(self.nodes)}"
        body = b"".join(field(1, one.encode()) for one in inputs) + field(2, name.encode()) + field(4, kind.encode())
        self.nodes.append(body + b"".join(field(5, each) for each in attributes))
        return name

    def constant(self, array: np.ndarray) -> str:
        """Add weights; returns their name."""
        name = f"w{len(self.tensors)}"
        self.tensors.append(tensor(name.encode(), array))
        self.parameters += array.size
        return name

    def conv(self, given: str, channels: tuple[int, int], *, relu: bool = True) -> str:
        """A 3x3 convolution that keeps the size, with ReLU."""
        scale = (2 / (9 * channels[0])) ** 0.5
        weights = self.constant(self.rng.normal(0, scale, (channels[1], channels[0], 3, 3)))
        bias = self.constant(np.zeros(channels[1]))
        found = self.node("Conv", [given, weights, bias], integers("kernel_shape", 3, 3), integers("pads", 1, 1, 1, 1))
        return self.node("Relu", [found]) if relu else found


def integers(name: str, *values: int) -> bytes:
    """An attribute that holds a list of integers."""
    return field(1, name.encode()) + b"".join(field(8, each) for each in values) + field(20, 7)


def heavy_network(path: Path) -> int:
    """Write a U-Net with five levels of two convolutions each; returns its parameters."""
    graph, widths = Graph(), (64, 128, 256, 512, 512)
    found, before, kept = "x", 3, []
    for level, width in enumerate(widths):
        if level:
            found = graph.node("MaxPool", [found], integers("kernel_shape", 2, 2), integers("strides", 2, 2))
        found = graph.conv(graph.conv(found, (before, width)), (width, width))
        kept.append(found)
        before = width
    twice = graph.constant(np.array([1.0, 1.0, 2.0, 2.0]))
    for width, skip in zip(widths[-2::-1], kept[-2::-1], strict=True):
        grown = graph.node("Resize", [found, "", twice])
        axis = field(1, b"axis") + field(3, 1) + field(20, 2)
        joined = graph.node("Concat", [grown, skip], axis)
        found = graph.conv(graph.conv(joined, (before + width, width)), (width, width))
        before = width
    last = graph.node("Sigmoid", [graph.conv(found, (before, 1), relu=False)])
    body = b"".join(field(1, node) for node in graph.nodes) + field(2, b"g")
    body += b"".join(field(5, each) for each in graph.tensors)
    shapes = value(b"x", (1, 3, SIDE, SIDE)), value(last.encode(), (1, 1, SIDE, SIDE))
    body += field(11, shapes[0]) + field(12, shapes[1])
    path.write_bytes(field(1, 8) + field(7, body) + field(8, field(1, b"") + field(2, 13)))
    return graph.parameters


def spent(work: Callable[[], object], images: int, rounds: int) -> float:
    """CPU milliseconds an image, the best of some rounds."""
    work()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times) * 1000 / images


def speed(label: str, model: Path, photos: list[np.ndarray], rounds: int) -> None:
    """Print one row: ours, by part, and rembg's."""
    os.environ["U2NET_HOME"] = str(model.parent)  # rembg takes models from its own folder only
    from rembg import new_session, remove

    session = new_session("u2net_custom", model_path=str(model))
    step = build_step("remove-background", "rembg", {"model": "u2net_custom", "file": str(model), "device": "cpu"})
    samples = [Sample(str(n), {}, {"rgb": photo}) for n, photo in enumerate(photos)]
    network, count = loaded(step), len(photos)
    theirs = spent(lambda: [remove(photo, session=session) for photo in photos], count, rounds)
    ours = spent(lambda: step.process(samples), count, rounds)
    boxes = [segmentation._box(photo, network.size, step.fit) for photo in photos]

    def prepare() -> list[np.ndarray]:
        places = zip(photos, boxes, strict=True)
        return [network.prepared(segmentation._placed(photo, box, network.size)) for photo, box in places]

    def finish() -> None:
        for answer in zip(raw, photos, boxes, strict=True):
            segmentation._mask(*answer, network.size)

    given = prepare()
    raw = [network.probabilities(each[None])[0] for each in given]
    asked = spent(lambda: [network.probabilities(each[None]) for each in given], count, rounds)
    parts = (spent(prepare, count, rounds), asked, spent(finish, count, rounds))
    cells = " | ".join(f"{part:.1f}" for part in parts)
    print(f"| {label} | {theirs:.1f} | {ours:.1f} | {theirs / ours:.2f} | {cells} |")


def masked(task: tuple[str, list[np.ndarray]]) -> int:
    """A worker's share of the photographs."""
    model, photos = task
    values = {"model": "u2net_custom", "file": model, "device": "cpu", "threads": 1}
    step = build_step("remove-background", "rembg", values)
    loaded(step)
    return len(step.process([Sample(str(n), {}, {"rgb": photo}) for n, photo in enumerate(photos)]))


def all_cores(model: Path, photos: list[np.ndarray]) -> None:
    """Print images per second of the machine: one rembg session on all cores, and one worker on each."""
    from rembg import new_session, remove

    cores = len(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = str(cores)  # rembg hands it to the runtime
    session = new_session("u2net_custom", model_path=str(model))
    del os.environ["OMP_NUM_THREADS"]
    remove(photos[0], session=session)
    with LocalEngine(cores) as engine:
        list(engine.imap(masked, [(str(model), photos[:1])] * cores))  # every worker has opened the model
        rates: dict[str, list[float]] = {"theirs": [], "ours": []}
        for _ in range(3):
            start = time.perf_counter()
            for photo in photos:
                remove(photo, session=session)
            rates["theirs"].append(len(photos) / (time.perf_counter() - start))
            start = time.perf_counter()
            list(engine.imap(masked, [(str(model), photos[n::cores]) for n in range(cores)]))
            rates["ours"].append(len(photos) / (time.perf_counter() - start))
    theirs, ours = max(rates["theirs"]), max(rates["ours"])
    print(f"\n{cores} cores, wall: rembg.remove {theirs:.3f} images/s, workers {ours:.3f}: {ours / theirs:.2f} times")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    photos = list(np.random.default_rng(0).integers(0, 256, (PHOTOS, 256, 128, 3)).astype(np.uint8))
    if options.masks and options.model:
        sets = known_sets(options.masks)
        for size in SIZES[:2]:
            pairs = [(each.sample.images["rgb"], each.sample.images["mask"] > 127) for each in drawn(size, DRAWN)]
            sets[f"drawn people {size[0]}x{size[1]}"] = pairs
        photos = [photo for photo, _ in next(iter(sets.values()))]
        print("| masks | images | square: IoU | letterbox: IoU |\n|---|---|---|---|")
        for label, pairs in sets.items():
            cells = []
            for fit in ("square", "letterbox"):
                step = build_step(
                    "remove-background", "rembg", {"model": "u2net_custom", "file": str(options.model), "fit": fit}
                )
                made = step.process([Sample(str(n), {}, {"rgb": photo}) for n, (photo, _) in enumerate(pairs)])
                values = [overlap(np.asarray(m.image) > 127, t) for m, (_, t) in zip(made, pairs, strict=True)]
                cells.append(f"{np.mean(values):.3f}")
            print(f"| {label} | {len(pairs)} | {' | '.join(cells)} |")
    print("\n| network | rembg.remove ms | ours ms | times | prepare ms | network ms | mask ms |")
    print("|---|---|---|---|---|---|---|")
    if options.model:
        speed(f"light ({options.model.name})", options.model.resolve(), photos, 5)
    with tempfile.TemporaryDirectory() as folder:
        parameters = heavy_network(Path(folder) / "heavy.onnx")
        speed(f"heavy ({parameters / 1e6:.0f} M)", Path(folder) / "heavy.onnx", photos[:2], 3)
        all_cores(Path(folder) / "heavy.onnx", photos[:8])


if __name__ == "__main__":
    main()
