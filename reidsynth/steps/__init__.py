"""Transformations that make one table each; each registers by one line in STEPS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast, runtime_checkable

from reidsynth import registry
from reidsynth.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager

    from reidsynth.manifest import Manifest
    from reidsynth.schema import Made, Sample, TableSpec
    from reidsynth.spending import Allowance, Estimate

STEPS: dict[str, dict[str, str]] = {
    "remove-background": {
        "grabcut": "reidsynth.steps.background:GrabCut",
        "rembg": "reidsynth.steps.segmentation:Rembg",
    },
    "build-sketch": {
        "lineart-standard": "reidsynth.steps.lineart:LineartStandard",
        "lineart": "reidsynth.steps.lineart_network:Lineart",
        "lineart-coarse": "reidsynth.steps.lineart_network:LineartCoarse",
        "teed": "reidsynth.steps.edges:Teed",
        "pidinet": "reidsynth.steps.edges:Pidinet",
        "hed": "reidsynth.steps.edges:Hed",
        "diffusion": "reidsynth.steps.diffusion:DiffusionSketch",
        "gan": "reidsynth.steps.gan:GanSketch",
    },
    "build-ir": {
        "channel-augmentation": "reidsynth.steps.channel_augmentation:ChannelAugmentation",
        "diffusion": "reidsynth.steps.diffusion:DiffusionInfrared",
        "gan": "reidsynth.steps.gan:GanInfrared",
    },
    "caption": {
        "template": "reidsynth.steps.captions.template:Template",
        "openai": "reidsynth.steps.captions.openai_compatible:OpenAICompatible",
        "transformers": "reidsynth.steps.captions.vision_language:VisionLanguage",
    },
}


GATES = "gates"
"""Parameter of every step: threshold -> number, or null to keep that gate open; see `reidsynth.thresholds`."""


class Step(Protocol):
    """Makes one table from others; a pydantic dataclass whose fields are its parameters.

    The runner decodes inputs, leaves out rows whose input is absent or unreadable, sorts by size, calls `process`,
    encodes, judges and writes. A step never touches files.
    """

    name: ClassVar[str]
    method: ClassVar[str]
    version: ClassVar[int]

    def output(self) -> TableSpec:
        """Table that it makes."""
        ...

    def inputs(self, tables: Collection[str]) -> tuple[str, ...]:
        """Tables that it reads, out of those available.

        Raises:
            UserError: one that it needs is not there.
        """
        ...

    def parameters(self) -> dict[str, Any]:
        """Everything that changes the output, for the content key and `manifest.json`."""
        ...

    def weights(self) -> dict[str, str]:
        """File -> sha256 of the weights in use; {} without weights."""
        ...

    def process(self, samples: Sequence[Sample]) -> list[Made]:
        """Make one output per sample, in the same order; what comes out never depends on the batch."""
        ...


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a step brought together for a whole manifest before its first row.

    Args:
        process: makes rows of it, as `Step.process` does.
        weights: name -> checksum of what was gathered, for the content key.
    """

    process: Callable[[Sequence[Sample]], list[Made]]
    weights: Mapping[str, str]


@runtime_checkable
class GatheringStep(Protocol):
    """A step that rests on answers from outside; the runner gathers them once, in its own process.

    Rows are then made from what was gathered and nothing else, so that the table follows from it byte for byte.
    """

    def gather(
        self, manifest: Manifest, allowance: Allowance, progress: bool | None
    ) -> AbstractContextManager[Gathered]:
        """Bring together what the manifest's rows need; held until the table is written."""
        ...

    def estimate(self, manifest: Manifest) -> Estimate:
        """What `gather` would do and cost."""
        ...

    def remembers(self, manifest: Manifest) -> bool:
        """Whether what was gathered before lies elsewhere than in the table: if not, no shard of it is given up."""
        ...


def methods_of(step: str) -> tuple[str, ...]:
    """Methods of a registered step.

    Raises:
        UserError: the step is not registered.
    """
    if step not in STEPS:
        raise registry.unknown("step", step, STEPS, "reidsynth steps")
    return tuple(STEPS[step])


def step_class(step: str, method: str) -> type[Step]:
    """Class of a registered step and method.

    Raises:
        UserError: step or method is not registered.
    """
    methods = methods_of(step)
    if method not in methods:
        raise registry.unknown(f"method of step {step!r}:", method, methods, f"reidsynth steps {step}")
    return cast("type[Step]", registry.locate(STEPS[step][method]))


def build_step(step: str, method: str, params: Mapping[str, Any]) -> Step:
    """Build a step from its name, method and parameters.

    Args:
        step: name.
        method: of the step.
        params: of the method; `gates`, which every step takes, is checked here and used by the runner (`gated`).

    Raises:
        UserError: unknown step or method (the valid ones are listed), or wrong parameters (all of them at once).
    """
    label = f"step {step!r}, method {method!r}"
    own = {name: value for name, value in params.items() if name != GATES}
    built = cast("Step", registry.construct(step_class(step, method), label, own))
    if GATES in params:
        gated(built, params)
    return built


def gated(step: Step, params: Mapping[str, Any]) -> TableSpec:
    """Table that a step makes, with the thresholds that its parameters ask for.

    Raises:
        UserError: for thresholds that this table's gate does not have.
    """
    from reidsynth.thresholds import limited

    return limited(step.output(), params.get(GATES))


def require(step: str, wanted: str, present: bool, tables: Collection[str], remedy: str) -> None:
    """Check that a table is there before the first row.

    Args:
        step: who needs it.
        wanted: the table, or the alternatives, in words.
        present: whether it is there.
        tables: what is there.
        remedy: what to do.

    Raises:
        UserError: it is not.
    """
    if not present:
        there = ", ".join(sorted(tables)) or "none"
        raise UserError(f"step {step!r} needs {wanted}, which this manifest lacks (tables there: {there}); {remedy}")


def photo_inputs(
    step: str,
    tables: Collection[str],
    *,
    erased: bool = False,
    mask: str | None = None,
    remedy: str = "ingest a source that holds photographs",
) -> tuple[str, ...]:
    """Inputs of a step that reads photographs, and masks where it erases their background.

    Args:
        step: who needs them.
        tables: what is there.
        erased: whether it erases the background.
        mask: the mask table asked for; None leaves the choice to `mask_table`.
        remedy: what to do where there are no photographs.

    Raises:
        UserError: one of them is not there.
    """
    require(step, "the table 'rgb'", "rgb" in tables, tables, remedy)
    return ("rgb", mask_table(step, mask, tables)) if erased else ("rgb",)


def mask_table(step: str, wanted: str | None, tables: Collection[str]) -> str:
    """Choose the mask table that a step reads.

    Args:
        step: who needs it.
        wanted: the table asked for; None takes the one that a step made, else the real `mask`.
        tables: what is there.

    Raises:
        UserError: no such table, or several that steps made and none asked for: which of them is meant decides the
            output, so that it is not guessed from their names.
    """
    masks = sorted((name for name in tables if name.split("-")[0] == "mask"), key=lambda name: (name == "mask", name))
    found = masks if wanted is None else [name for name in masks if name == wanted]
    what = f"the mask table {wanted!r}" if wanted else "a mask table ('mask-grabcut' or 'mask')"
    require(step, what, bool(found), tables, "run `reidsynth remove-background --method grabcut` on it first")
    made = [name for name in found if name != "mask"]
    if len(made) > 1:
        raise UserError(
            f"step {step!r} needs one mask table, and this manifest holds {', '.join(made)}: name the one to use with "
            f"mask, for example `mask: {made[0]}` in a recipe or --set mask={made[0]}"
        )
    return found[0]


def terms(step: Step) -> dict[str, Any]:
    """Terms of the data that a step's weights were trained on, as `Policy.as_dict` gives them; {} where none bind."""
    told = getattr(step, "terms", None)
    return {} if told is None else dict(told())


def note(step: Step) -> str:
    """A sentence of the step's own for the dataset card; "" where it has none."""
    told = getattr(step, "note", None)
    return "" if told is None else str(told())
