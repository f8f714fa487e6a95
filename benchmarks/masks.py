"""Masks by networks: stretched, letterboxed and on narrow canvases, and images per second against `rembg.remove`.

    OMP_NUM_THREADS=1 NUMBA_DISABLE_JIT=1 python benchmarks/masks.py --masks DIR --networks A.onnx B.onnx --model C.onnx

DIR holds `canvas` and `coco` (benchmarks/person_masks.py). A and B are person segmentation networks converted from
TensorFlow Lite; their frozen sizes are taken out first (benchmarks/freed_networks.py), and they run at their own 256
pixels and at rembg's 320. C takes rembg's `u2net_custom` input, 1x3x320x320. Without them only the speed of the heavy
network is measured, whose weights are random: a U-Net of 20 million parameters that this script writes itself, as
costly as U2-Net. Time is CPU time of one process with one thread, the best of some rounds, both on decoded photographs
and with the same preparation.

Measured on an idle 2-core machine (AMD EPYC, Zen 4). IoU with MediaPipe's selfie segmentation and
the mask head of its pose landmarks (lite); `people moved` are the five of the photographs over three other backgrounds:

    | selfie.onnx at 320 | images | square | letterbox | narrow, 224 | tighter, 192 | tighter, 160 |
    |---|---|---|---|---|---|---|
    | composites, 5% margin | 9 | 0.951 | 0.946 | 0.946 | 0.946 | 0.946 |
    | photographs, 5% margin | 5 | 0.651 | 0.753 | 0.755 | 0.761 | 0.754 |
    | composites, 12% margin | 9 | 0.947 | 0.937 | 0.937 | 0.937 | 0.937 |
    | photographs, 12% margin | 5 | 0.652 | 0.731 | 0.724 | 0.715 | 0.710 |
    | people moved, 5% margin | 15 | 0.736 | 0.899 | 0.879 | 0.879 | 0.873 |
    | people moved, 12% margin | 15 | 0.782 | 0.906 | 0.893 | 0.876 | 0.857 |
    | drawn people 128x64 | 64 | 0.746 | 0.839 | 0.858 | 0.850 | 0.837 |
    | drawn people 256x128 | 64 | 0.902 | 0.908 | 0.913 | 0.911 | 0.899 |

    | pose_seg.onnx at 320 | images | square | letterbox | narrow, 224 | tighter, 192 | tighter, 160 |
    |---|---|---|---|---|---|---|
    | composites, 5% margin | 9 | 0.426 | 0.527 | 0.527 | 0.527 | 0.527 |
    | photographs, 5% margin | 5 | 0.424 | 0.660 | 0.671 | 0.650 | 0.572 |
    | composites, 12% margin | 9 | 0.537 | 0.573 | 0.573 | 0.573 | 0.573 |
    | photographs, 12% margin | 5 | 0.495 | 0.706 | 0.716 | 0.710 | 0.652 |
    | people moved, 5% margin | 15 | 0.394 | 0.774 | 0.780 | 0.776 | 0.619 |
    | people moved, 12% margin | 15 | 0.517 | 0.811 | 0.813 | 0.812 | 0.702 |
    | drawn people 128x64 | 64 | 0.638 | 0.861 | 0.864 | 0.865 | 0.795 |
    | drawn people 256x128 | 64 | 0.636 | 0.922 | 0.922 | 0.920 | 0.833 |

At 256 the canvas of 192 differs from the letterbox by -.028 to +.005 with selfie.onnx and by -.002 to +.006 with
pose_seg.onnx, which fails on one of 128: .18 on the photographs, .00 on the drawn people.

The composites are as wide as high and not narrowed; stretching does better there by up to .013 with one of the
networks. For the rest the letterbox finds more, but for the drawn people at 256 (.908, stretched .913). A canvas of
seven tenths, for what is at most half as wide as high, is as good as the letterbox within .01, except with
selfie.onnx for the people moved (-.028 to +.005): it loses the one person who is four and a half times as high as
wide. That network averages over its whole canvas, which U2-Net does not do. Tighter canvases lose more. Seven tenths
and a half were chosen on these very crops, which are few. `narrow` is the default.

    | network | canvas | rembg.remove ms | ours ms | times | prepare ms | network ms | mask ms |
    |---|---|---|---|---|---|---|---|
    | light (selfie_rembg.onnx) | 320x320 | 7.1 | 4.7 | 1.51 | 1.4 | 3.0 | 0.1 |
    | light (selfie.onnx, sizes freed) | 320x320 | 8.4 | 6.0 | 1.41 | 1.4 | 4.1 | 0.3 |
    | light (selfie.onnx, sizes freed) | 224x320 | 8.4 | 4.6 | 1.83 | 1.2 | 2.9 | 0.3 |
    | heavy (20 M) | 320x320 | 1483.4 | 1474.0 | 1.01 | 1.4 | 1469.7 | 0.3 |
    | heavy (20 M) | 224x320 | 1483.4 | 1027.2 | 1.44 | 1.3 | 1030.1 | 0.3 |

The photographs are drawn people of 256x128, and every model takes one a run, as rembg's own do. A light network leaves
half of the time to the work around it, which is what gets cheaper; runs under other loads gave 1.4 to 1.8 times. A
heavy one is the time, so only fewer pixels help. selfie_rembg.onnx averages over maps of frozen size and keeps its
square.

On all cores by the clock, the heavy network: rembg.remove with one session on two cores 1.306 images/s, one worker on
each core 1.909, 1.46 times (1.48 in another run); 1.5 to 2.3 while other jobs ran, since they hold up two threads of
one session more than two workers.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from freed_networks import freed_network
from onnx import NodeProto
from person_masks import Pair, known_sets, moved, overlap
from steps import SIZES, drawn

from reidsynth.engines import LocalEngine
from reidsynth.schema import Sample
from reidsynth.steps import build_step, segmentation
from reidsynth.steps.networks import loaded
from reidsynth.steps.rembg_models import Network

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "reidsynth"))

from tiny_weights import node, save_network

SIDE = 320
PHOTOS = 16
DRAWN = 64


class Graph:
    """Writes a network as ONNX, layer by layer."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.parameters = 0
        self.rng = np.random.default_rng(0)

    def node(self, kind: str, inputs: list[str], **attributes: object) -> str:
        """Add a node; returns the name of its output."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(node(kind, inputs, name, **attributes))
        return name

    def constant(self, array: np.ndarray) -> str:
        """Add weights; returns their name."""
        name = f"w{len(self.weights)}"
        self.weights[name] = array
        self.parameters += array.size
        return name

    def conv(self, given: str, channels: tuple[int, int], *, relu: bool = True) -> str:
        """A 3x3 convolution that keeps the size, with ReLU."""
        scale = (2 / (9 * channels[0])) ** 0.5
        weights = self.constant(self.rng.normal(0, scale, (channels[1], channels[0], 3, 3)))
        bias = self.constant(np.zeros(channels[1]))
        found = self.node("Conv", [given, weights, bias], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        return self.node("Relu", [found]) if relu else found


def heavy_network(path: Path) -> int:
    """Write a U-Net with five levels of two convolutions each; returns its parameters."""
    graph, widths = Graph(), (64, 128, 256, 512, 512)
    found, before, kept = "x", 3, []
    for level, width in enumerate(widths):
        if level:
            found = graph.node("MaxPool", [found], kernel_shape=[2, 2], strides=[2, 2])
        found = graph.conv(graph.conv(found, (before, width)), (width, width))
        kept.append(found)
        before = width
    twice = graph.constant(np.array([1.0, 1.0, 2.0, 2.0]))
    for width, skip in zip(widths[-2::-1], kept[-2::-1], strict=True):
        grown = graph.node("Resize", [found, "", twice])
        joined = graph.node("Concat", [grown, skip], axis=1)
        found = graph.conv(graph.conv(joined, (before + width, width)), (width, width))
        before = width
    last = graph.node("Sigmoid", [graph.conv(found, (before, 1), relu=False)])
    save_network(path, graph.nodes, graph.weights, {"x": (1, 3, SIDE, SIDE)}, {last: (1, 1, SIDE, SIDE)})
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
    """Print a row for each fit: rembg's time and ours, by part."""
    os.environ["U2NET_HOME"] = str(model.parent)  # rembg takes models from its own folder only
    from rembg import new_session, remove

    session = new_session("u2net_custom", model_path=str(model))
    samples = [Sample(str(n), {}, {"rgb": photo}) for n, photo in enumerate(photos)]
    theirs = spent(lambda: [remove(photo, session=session) for photo in photos], len(photos), rounds)
    for fit in ("letterbox", "narrow"):
        values = {"model": "u2net_custom", "file": str(model), "device": "cpu", "fit": fit}
        step = build_step("remove-background", "rembg", values)
        if fit == "narrow" and not loaded(step).canvases:
            continue  # it takes its square only
        ours = spent(partial(step.process, samples), len(photos), rounds)
        canvas, times = parts(loaded(step), photos, fit, rounds)
        cells = " | ".join(f"{part:.1f}" for part in times)
        print(f"| {label} | {canvas} | {theirs:.1f} | {ours:.1f} | {theirs / ours:.2f} | {cells} |")


def parts(network: Network, photos: list[np.ndarray], fit: str, rounds: int) -> tuple[str, tuple[float, ...]]:
    """The first photograph's canvas; milliseconds of preparing photographs, of the network and of finishing masks."""
    canvases = [segmentation._canvas(photo, network) for photo in photos]
    boxes = [segmentation._box(*pair, fit) for pair in zip(photos, canvases, strict=True)]
    places = list(zip(photos, boxes, canvases, strict=True))

    def prepare() -> list[np.ndarray]:
        return [network.prepared(segmentation._placed(*place)) for place in places]

    def finish() -> None:
        for answer, place in zip(raw, places, strict=True):
            segmentation._mask(answer, *place)

    given = prepare()
    raw = [network.probabilities(each[None])[0] for each in given]
    asked = spent(lambda: [network.probabilities(each[None]) for each in given], len(photos), rounds)
    times = spent(prepare, len(photos), rounds), asked, spent(finish, len(photos), rounds)
    return f"{canvases[0][0]}x{canvases[0][1]}", times


def quality(network_file: Path, side: int, sets: dict[str, list[Pair]], folder: Path) -> None:
    """Print a row for each set of masks: mean IoU of one network on its square and on narrower canvases."""
    model = folder / f"{network_file.stem}-{side}.onnx"
    freed_network(network_file, model, side)
    values = {"model": "u2net_custom", "file": str(model), "device": "cpu"}
    kinds = []
    for fit in ("square", "narrow"):
        step = build_step("remove-background", "rembg", values | {"fit": fit})
        kinds.append(loaded(replace(step, logits=is_logit(step, sets))))
    square, narrow = kinds
    assert narrow.canvases[0][0] < side, "the network takes its square only"
    tighter = [width for width in (-(-3 * side // 160) * 32, side // 2) if width < narrow.canvases[0][0]]
    tried = [("square", square), ("letterbox", square), ("narrow", narrow)]
    tried += [("narrow", replace(narrow, canvases=((width, side), (side, width)))) for width in tighter]
    heads = ["square", "letterbox", f"narrow, {narrow.canvases[0][0]}", *(f"tighter, {width}" for width in tighter)]
    print(f"\n| {network_file.name} at {side} | images | {' | '.join(heads)} |")
    print("|---" * (len(tried) + 2) + "|")
    for label, pairs in sets.items():
        cells = [f"{fitting(network, fit, pairs):.3f}" for fit, network in tried]
        print(f"| {label} | {len(pairs)} | {' | '.join(cells)} |")


def is_logit(step: segmentation.Rembg, sets: dict[str, list[Pair]]) -> bool:
    """Whether a network leaves out its last sigmoid."""
    photo = next(iter(sets.values()))[0][0]
    error = step.process([Sample("0", {}, {"rgb": photo})])[0].error
    return error is not None and "logits" in error


def fitting(network: Network, fit: str, pairs: Sequence[Pair]) -> float:
    """Mean IoU."""
    found = []
    for photo, truth in pairs:
        made = segmentation._masks(network, [photo], fit)[0]
        found.append(overlap(np.asarray(made.image) > 127, truth))
    return float(np.mean(found))


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
    parser.add_argument("--networks", type=Path, nargs="*", default=[])
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.masks and options.networks:
            sets = known_sets(options.masks)
            for margin in (0.05, 0.12):
                pairs = list(moved(options.masks / "coco", options.masks / "canvas" / "backgrounds", margin, 256))
                sets[f"people moved, {margin:.0%} margin"] = pairs
            for size in SIZES[:2]:
                pairs = [(each.sample.images["rgb"], each.sample.images["mask"] > 127) for each in drawn(size, DRAWN)]
                sets[f"drawn people {size[0]}x{size[1]}"] = pairs
            for network in options.networks:
                for side in (256, SIDE):
                    quality(network, side, sets, folder)
        photos = [each.sample.images["rgb"] for each in drawn(SIZES[1], PHOTOS)]
        print("\n| network | canvas | rembg.remove ms | ours ms | times | prepare ms | network ms | mask ms |")
        print("|---|---|---|---|---|---|---|---|")
        if options.model:
            speed(f"light ({options.model.name})", options.model.resolve(), photos, 15)
        for network in options.networks[:1]:
            freed_network(network, folder / "light.onnx", SIDE)
            speed(f"light ({network.name}, sizes freed)", folder / "light.onnx", photos, 15)
        parameters = heavy_network(folder / "heavy.onnx")
        speed(f"heavy ({parameters / 1e6:.0f} M)", folder / "heavy.onnx", photos[:2], 3)
        all_cores(folder / "heavy.onnx", photos[:8])


if __name__ == "__main__":
    main()
