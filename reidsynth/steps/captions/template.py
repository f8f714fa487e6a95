"""Captions without a language model: attributes, or the colours of the clothes, in varied sentences."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from reidsynth.draws import sample_rng
from reidsynth.schema import ATTRIBUTE_FIELDS, Made, Sample, TableSpec, Text
from reidsynth.steps import mask_table, require
from reidsynth.steps.captions.sentences import write

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_REAL_TEXT = "text"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Template:
    """Writes sentences from attributes, or from the colours of the masked clothes; needs no weights.

    Args:
        captions: sentences for each photograph, all different.
        use: `attributes` of the table `text`, `colours` of the masked photograph, or `auto`: attributes where the row
            has them, else colours.
        mask: table for the colours; None takes the real `mask`, else `mask-grabcut`, else another one.
        seed: of the wording.
    """

    captions: Annotated[int, Field(ge=1, le=10)] = 2
    use: Literal["auto", "attributes", "colours"] = "auto"
    mask: str | None = None
    seed: int = 0

    name: ClassVar[str] = "caption"
    method: ClassVar[str] = "template"
    version: ClassVar[int] = 1

    def output(self) -> TableSpec:
        """Table `text-template`."""
        return TableSpec("text-template", "text", "synthetic")

    def inputs(self, tables: Collection[str]) -> tuple[str, ...]:
        """Texts with attributes, or photographs with masks, or both.

        Raises:
            UserError: what `use` asks for is not there; with `auto`, neither.
        """
        texts = (_REAL_TEXT,) if _REAL_TEXT in tables and self.use != "colours" else ()
        if self.use == "attributes":
            require(
                self.name, "the table 'text' with attributes", bool(texts), tables, "set use: colours to name colours"
            )
            return texts
        masked = any(name.split("-")[0] == "mask" for name in tables)
        if texts and not masked and self.mask is None:
            return texts
        require(self.name, "the table 'rgb'", "rgb" in tables, tables, "ingest a source that holds photographs")
        wanted = "mask" if self.mask is None and "mask" in tables else self.mask
        return ("rgb", mask_table(self.name, wanted, tables), *texts)

    def parameters(self) -> dict[str, Any]:
        """All fields."""
        return asdict(cast("Any", self))

    def weights(self) -> dict[str, str]:
        """None."""
        return {}

    def process(self, samples: Sequence[Sample]) -> list[Made]:
        """Write the captions of each sample, with the attributes that they rest on."""
        return [self._made(sample) for sample in samples]

    def _made(self, sample: Sample) -> Made:
        known = self._known(sample)
        if not any(known.values()):
            return Made(error="neither attributes nor clothes large enough to name their colours")
        rng = sample_rng(self.seed, sample.sample_id, self.name)
        attributes = {field: known.get(field) for field in ATTRIBUTE_FIELDS}
        return Made(text=Text(captions=write(known, self.captions, rng), attributes=attributes))

    def _known(self, sample: Sample) -> Mapping[str, str | None]:
        text = None if self.use == "colours" else sample.texts.get(_REAL_TEXT)
        if text is not None and text.attributes is not None and any(text.attributes.values()):
            return text.attributes
        masks = [image for name, image in sample.images.items() if name != "rgb"]
        if not masks:
            return {}
        from reidsynth.steps.captions.colours import clothing_colours

        named = clothing_colours(sample.images["rgb"], masks[0])
        return {field: " and ".join(colours) for field, colours in named.items()}
