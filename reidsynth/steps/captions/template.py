"""Captions without a language model: attributes, or what can be told of a photograph, in varied sentences."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from reidsynth import weights
from reidsynth.draws import sample_rng
from reidsynth.schema import ATTRIBUTE_FIELDS, REGION_FIELDS, Made, Sample, TableSpec, Text
from reidsynth.steps import mask_table, require
from reidsynth.steps.captions.answers import Style, each_once
from reidsynth.steps.captions.attribute_model import AttributeModel, find_network, open_network
from reidsynth.steps.captions.colours import clothing_colours, named_colours
from reidsynth.steps.captions.outcomes import INFRARED
from reidsynth.steps.captions.sentences import write, write_styles
from reidsynth.steps.networks import loaded
from reidsynth.tokens import within_clip

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_REAL_TEXT = "text"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Template:
    """Writes sentences from attributes, or from what a small network and the clothes' colours tell.

    Args:
        captions: sentences for each photograph, all different.
        styles: one caption in each instead.
        use: `attributes` of the table `text`, what can be told of the photograph's `pixels` (`colours` is the same
            without a network), or `auto`: attributes where the row has them, else pixels.
        mask: table for the colours; None takes the real `mask`, else the one that a step made.
        attribute_model: ONNX file of a network for attributes, for rows without; None tells colours only.
        certainty: probability from which the network is believed.
        seed: of the wording.
    """

    captions: Annotated[int, Field(ge=1, le=10)] = 2
    styles: Annotated[tuple[Style, ...], AfterValidator(each_once)] = ()
    use: Literal["auto", "attributes", "pixels", "colours"] = "auto"
    mask: str | None = None
    attribute_model: str | None = None
    certainty: Annotated[float, Field(gt=0.5, lt=1)] = 0.8
    seed: int = 0

    name: ClassVar[str] = "caption"
    method: ClassVar[str] = "template"
    version: ClassVar[int] = 2

    def output(self) -> TableSpec:
        """Table `text-template`."""
        return TableSpec("text-template", "text", "synthetic")

    def inputs(self, tables: Collection[str]) -> tuple[str, ...]:
        """Texts with attributes, or photographs with masks, or both; a network does without masks.

        Raises:
            UserError: what `use` asks for is not there; with `auto`, neither.
        """
        texts = (_REAL_TEXT,) if _REAL_TEXT in tables and self.use in ("auto", "attributes") else ()
        if self.use == "attributes":
            require(
                self.name, "the table 'text' with attributes", bool(texts), tables, "set use: pixels to describe those"
            )
            return texts
        masked = any(name.split("-")[0] == "mask" for name in tables)
        if texts and not masked and self.mask is None and self._network() is None:
            return texts
        require(self.name, "the table 'rgb'", "rgb" in tables, tables, "ingest a source that holds photographs")
        if not masked and self.mask is None and self._network() is not None:
            return ("rgb", *texts)
        wanted = "mask" if self.mask is None and "mask" in tables else self.mask
        return ("rgb", mask_table(self.name, wanted, tables), *texts)

    def parameters(self) -> dict[str, Any]:
        """All fields; of the network's file its name only."""
        fields = asdict(cast("Any", self))
        return fields | {
            "styles": list(self.styles),
            "attribute_model": weights.published_name(self.attribute_model),
        }

    def weights(self) -> dict[str, str]:
        """Checksum of the network's file; {} without one.

        Raises:
            UserError: it does not exist.
        """
        network = self._network()
        return {} if network is None else weights.checksums([find_network(network)])

    def note(self) -> str:
        """Where the attributes come from; each row's `draw` tells it for the row."""
        pixels = "the colours of the masked clothes"
        network = self._network()
        if network is not None:
            pixels = f"the network {weights.published_name(network)}, where it is sure, and {pixels}"
        if self.use == "attributes":
            return "attributes are those of the table `text`"
        if self.use == "auto":
            return f"attributes are those of the table `text` where a row has them, else {pixels}"
        return f"attributes come from {pixels}"

    def load(self) -> AttributeModel:
        """Open the network.

        Raises:
            UserError: it is no network of this form.
        """
        network = self._network()
        assert network is not None, "only called where there is one"
        return open_network(network)

    def process(self, samples: Sequence[Sample]) -> list[Made]:
        """Write the captions of each sample, with the attributes that they rest on."""
        return [self._made(sample) for sample in samples]

    def _network(self) -> str | None:
        return self.attribute_model if self.use in ("auto", "pixels") else None

    def _made(self, sample: Sample) -> Made:
        known, source = self._known(sample)
        if source == "none":
            return Made(absent=INFRARED)
        if not any(value not in (None, "none") for value in known.values()):
            return Made(error="neither attributes nor clothes large enough to name their colours")
        rng = sample_rng(self.seed, sample.sample_id, self.name)
        told = write_styles(known, self.styles, rng) if self.styles else write(known, self.captions, rng)
        text = Text(
            captions=told,
            attributes={field: known.get(field) for field in ATTRIBUTE_FIELDS},
            styles=self.styles,
            short=within_clip(min(told, key=len)),
            visible={
                region: any(known.get(field) is not None for field in fields)
                for region, fields in REGION_FIELDS.items()
            },
        )
        return Made(text=text, draw=f"attributes={source}")

    def _known(self, sample: Sample) -> tuple[Mapping[str, str | None], str]:
        """Attributes, and where they come from."""
        text = sample.texts.get(_REAL_TEXT) if self.use in ("auto", "attributes") else None
        if text is not None and text.attributes is not None and any(text.attributes.values()):
            return text.attributes, "text"
        if sample.capture.get("modality") == "ir":
            return {}, "none"
        if "rgb" not in sample.images:
            return {}, "text"
        photo = sample.images["rgb"]
        masks = [image for name, image in sample.images.items() if name != "rgb"]
        colours = clothing_colours(photo, masks[0]) if masks else {}
        if self._network() is None:
            return _joined(colours), "colours"
        found, patches = cast("AttributeModel", loaded(self)).read(photo, self.certainty)
        if not masks:
            colours = {field: named_colours(pixels) for field, pixels in patches.items()}
        return found | _joined(colours), "model+colours" if masks else "model"


def _joined(colours: Mapping[str, tuple[str, ...]]) -> dict[str, str | None]:
    return {field: " and ".join(names) for field, names in colours.items()}
