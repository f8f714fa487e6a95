"""From the ledger to rows: what came of each photograph's question."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reidsynth.jobs import stale_shards
from reidsynth.rows import text_of
from reidsynth.schema import Made, Sample
from reidsynth.steps.captions.answers import parse_answer, written_answer
from reidsynth.steps.captions.ledger import Question, Reply, image_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reidsynth.manifest import Manifest
    from reidsynth.steps.captions.asking import Form
    from reidsynth.steps.captions.ledger import Ledger

_ROWS = 100
INFRARED = "captions are never made from infrared images"


def photographs(manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """(sample_id, encoded image) of every capture that may be described: photographs in colour that passed.

    Yields in row order; one block of rows is in memory at a time.
    """
    for split in manifest.splits:
        captures, photos = manifest.table("captures", split), manifest.table("rgb", split)
        for start in range(0, len(captures), _ROWS):
            block = zip(captures.rows(start, start + _ROWS), photos.rows(start, start + _ROWS), strict=True)
            for capture, photo in block:
                if photo["verdict"] == "pass" and capture["modality"] != "ir":
                    yield capture["sample_id"], photo["image"]["bytes"]


@dataclass(frozen=True)
class Outcomes:
    """Reads answers out of the ledger; makes no request.

    Args:
        ledger: with the answers.
        form: what was asked.
        prompt: hash of what was asked.
        reasons: image -> why it has no answer, as this run learned it.
    """

    ledger: Ledger
    form: Form
    prompt: str
    reasons: Mapping[str, str] = field(default_factory=dict)

    def question(self, image: bytes) -> Question:
        """What an image's answer is kept under."""
        return Question(image_sha256(image), self.form.model, self.prompt)

    def settled(self, question: Question) -> bool:
        """Whether nothing more is to be asked: there is an answer, or all attempts were used."""
        if self.ledger.answer(question) is not None:
            return True
        return len(self.ledger.rejected(question)) >= self.form.attempts

    def made(self, question: Question) -> Made:
        """The row of a question."""
        reply = self.ledger.answer(question)
        if reply is not None and reply.refusal is not None:
            return Made(error=f"the model refused: {' '.join(reply.refusal.split())[:120]}")
        if reply is not None:
            answer = parse_answer(reply.content, self.form.styles)
            return Made(text=answer.text(reply.served_by or self.form.model, reply.usage))
        rejected = self.ledger.rejected(question)
        if len(rejected) >= self.form.attempts:
            return Made(error=f"no usable answer in {len(rejected)} attempts: the last one {rejected[-1].problem}")
        if self.ledger.on_its_way(question):
            return Made(absent="not answered: in a batch on its way")
        return Made(absent=self.reasons.get(question.image, "not asked: --limit is reached"))

    def process(self, samples: Sequence[Sample]) -> list[Made]:
        """The rows of samples."""
        return [self._row(sample) for sample in samples]

    def _row(self, sample: Sample) -> Made:
        if sample.capture["modality"] == "ir":
            return Made(absent=INFRARED)
        return self.made(self.question(sample.encoded["rgb"]))

    def restore(self, manifest: Manifest, table: str, parameters: Mapping[str, Any]) -> int:
        """Take answers into the ledger that only a table holds: a ledger that was lost is not paid for again.

        Args:
            manifest: with the table, perhaps.
            table: its name.
            parameters: of the step; a table that was made with others holds other answers.

        Returns:
            The number of answers.
        """
        info = manifest.tables.get(table)
        if info is None or info.step is None or info.step.parameters != parameters:
            return 0
        if info.step.weights.get("prompt") != self.prompt or stale_shards(manifest.info, info):
            return 0
        restored = 0
        for split in manifest.splits:
            photos, texts = manifest.table("rgb", split), manifest.table(table, split)
            for start in range(0, len(texts), _ROWS):
                for photo, row in zip(photos.rows(start, start + _ROWS), texts.rows(start, start + _ROWS), strict=True):
                    restored += self._restored(photo, row)
        return restored

    def _restored(self, photo: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
        if not row["captions"] or not row["styles"]:
            return False
        question = self.question(photo["image"]["bytes"])
        if self.ledger.answer(question) is not None:
            return False
        usage = row["usage"] or {}
        tokens = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
        self.ledger.restore(question, Reply(written_answer(text_of(row)), None, None, row["model"], *tokens))
        return True

    def digest(self, manifest: Manifest) -> str:
        """Checksum over every row's outcome: what stands for the answers in the table's content key."""
        total = hashlib.sha256()
        for sample_id, image in photographs(manifest):
            made = self.made(self.question(image))
            total.update(repr((sample_id, made.text, made.error, made.absent)).encode())
        return total.hexdigest()
