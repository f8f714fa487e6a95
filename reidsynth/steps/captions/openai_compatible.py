"""Captions by a vision-language model behind an OpenAI-compatible endpoint, by single questions or in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tqdm import tqdm

from reidsynth.errors import UserError
from reidsynth.policy import Policy, check_egress
from reidsynth.schema import TableSpec
from reidsynth.spending import Allowance, Budget, Estimate
from reidsynth.steps import Gathered, photo_inputs
from reidsynth.steps.captions.answers import Styles, Variant
from reidsynth.steps.captions.asking import Form
from reidsynth.steps.captions.batches import MOST_BYTES, Batches
from reidsynth.steps.captions.chat import OVER_BUDGET, Chat
from reidsynth.steps.captions.ledger import FILE, Ledger, Question
from reidsynth.steps.captions.outcomes import Outcomes, photographs
from reidsynth.steps.captions.pace import Pace
from reidsynth.steps.captions.prompts import IN_COLOUR, prompt_hash
from reidsynth.steps.captions.service import Service

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from reidsynth.manifest import Manifest
    from reidsynth.schema import Made, Sample


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class OpenAICompatible:
    """Asks a model behind an OpenAI-compatible endpoint; every answer is paid for once and kept in a ledger.

    Args:
        model: as the service calls it.
        styles: of the captions, one caption each.
        detail: of the image, as the service understands it.
        temperature: None leaves it to the service.
        variant: the table is `text-<variant>`.
        mode: `chat` asks one by one, `batch` hands files in that are answered within a day.
        base_url: of the service; None takes OPENAI_BASE_URL, else the client's default.
        key_variable: environment variable that holds the key; a service on this machine does without.
        structured: how the service is told the form: a strict JSON `schema`, any `json`, the `prompt` alone; `auto`
            begins with the schema and does with less where the service refuses it.
        max_tokens: of an answer.
        attempts: billed answers to one question before the row is given up.
        concurrency: requests on their way at the same time.
        requests_per_minute: None sets no limit; the service's own demands to wait are always kept.
        timeout: seconds for one answer.
        input_price: of a million prompt tokens.
        output_price: of a million answer tokens.
        ledger: SQLite file of the answers; None keeps it in the manifest's folder, a named one serves several.
        wait: for batches; otherwise they are handed in, and the next run collects them.
        poll_seconds: between two looks at a batch.
        batch_bytes: largest file of a batch.
    """

    model: Annotated[str, Field(min_length=1)]
    styles: Styles = ("descriptive", "concise")
    detail: Literal["auto", "low", "high"] = "auto"
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    variant: Variant = "openai"
    mode: Literal["chat", "batch"] = "chat"
    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    structured: Literal["auto", "schema", "json", "prompt"] = "auto"
    max_tokens: Annotated[int, Field(ge=100, le=16_000)] = 900
    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    concurrency: Annotated[int, Field(ge=1, le=512)] = 8
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    timeout: Annotated[float, Field(gt=0)] = 120.0
    input_price: Annotated[float, Field(ge=0)] | None = None
    output_price: Annotated[float, Field(ge=0)] | None = None
    ledger: Path | None = None
    wait: bool = True
    poll_seconds: Annotated[float, Field(gt=0)] = 30.0
    batch_bytes: Annotated[int, Field(ge=1000, le=MOST_BYTES)] = MOST_BYTES

    name: ClassVar[str] = "caption"
    method: ClassVar[str] = "openai"
    version: ClassVar[int] = 1

    def output(self) -> TableSpec:
        """Table `text-<variant>`."""
        return TableSpec(f"text-{self.variant}", "text", "synthetic")

    def inputs(self, tables: Collection[str]) -> tuple[str, ...]:
        """Photographs; never infrared images.

        Raises:
            UserError: there are none.
        """
        return photo_inputs(self.name, tables, remedy=IN_COLOUR)

    def parameters(self) -> dict[str, Any]:
        """What decides the answers; where, how fast and at what price they are got decides nothing."""
        return {
            "model": self.model,
            "styles": list(self.styles),
            "detail": self.detail,
            "temperature": self.temperature,
            "variant": self.variant,
        }

    def weights(self) -> dict[str, str]:
        """Hash of the question; the answers' checksum joins it once they are there."""
        return {"prompt": self._prompt()}

    def note(self) -> str:
        """What the card tells of it."""
        return (
            "written by the model named; a model does not answer twice alike, so the ledger of answers, not the model, "
            "is what makes the table again"
        )

    def process(self, samples: Sequence[Sample]) -> list[Made]:
        """Not used: answers are gathered for the whole manifest, and rows are made from the ledger."""
        raise NotImplementedError("the runner calls `gather` for this step")

    @contextmanager
    def gather(self, manifest: Manifest, allowance: Allowance, progress: bool | None) -> Iterator[Gathered]:
        """Ask what is not in the ledger yet, then give rows out of it.

        Args:
            manifest: whose photographs are described.
            allowance: what the user allowed.
            progress: whether to draw a bar; None draws it on terminals.

        Raises:
            UserError: nothing may be sent, the service ended the run, or a parameter is missing.
        """
        form = self._form(allowance)
        with self._opened(manifest) as ledger, ledger.alone():
            outcomes = Outcomes(ledger, form, self._prompt())
            outcomes.restore(manifest, self.output().name, self.parameters())
            waiting, _ = self._waiting(manifest, outcomes)
            open_batches = bool(ledger.open_batches(form.model, outcomes.prompt))
            if waiting or open_batches:
                service = Service(self.base_url, self.key_variable, self.timeout)
                asked = _Asked(manifest, outcomes, allowance, progress, None if service.local else service.host)
                if waiting:
                    asked.check_egress()
                outcomes = Outcomes(ledger, form, outcomes.prompt, asyncio.run(self._ask(service, asked)))
            yield Gathered(outcomes.process, {"answers": outcomes.digest(manifest)})

    def estimate(self, manifest: Manifest) -> Estimate:
        """What a run would ask, without asking.

        Args:
            manifest: whose photographs would be described.
        """
        form = self._form(Allowance())
        if not self._file(manifest).exists():
            with _memory() as ledger:
                return self._estimated(manifest, Outcomes(ledger, form, self._prompt()))
        with self._opened(manifest) as ledger:
            return self._estimated(manifest, Outcomes(ledger, form, self._prompt()))

    def remembers(self, manifest: Manifest) -> bool:
        """Whether the ledger is there; without it, answers that were paid for stand in the table alone."""
        return self._file(manifest).exists()

    def _estimated(self, manifest: Manifest, outcomes: Outcomes) -> Estimate:
        waiting, sizes = self._waiting(manifest, outcomes)
        rows = sum(1 for _ in photographs(manifest))
        prompt_tokens, answer_tokens, basis = outcomes.form.expected(outcomes.ledger, outcomes.prompt)
        known = sum(outcomes.question(image).image not in waiting for _, image in photographs(manifest))
        return Estimate(
            rows=rows,
            known=known,
            questions=len(waiting),
            image_bytes=sizes,
            prompt_tokens=prompt_tokens * len(waiting),
            completion_tokens=answer_tokens * len(waiting),
            cost=None
            if outcomes.form.prices is None
            else outcomes.form.cost(prompt_tokens * len(waiting), answer_tokens * len(waiting)),
            spent=outcomes.ledger.spent(),
            basis=basis,
        )

    def _waiting(self, manifest: Manifest, outcomes: Outcomes) -> tuple[set[str], int]:
        """Images that are still to be asked about, and their bytes."""
        waiting: set[str] = set()
        total = 0
        for _, image in photographs(manifest):
            question = outcomes.question(image)
            if question.image in waiting or outcomes.settled(question) or outcomes.ledger.on_its_way(question):
                continue
            waiting.add(question.image)
            total += len(image)
        return waiting, total

    def _prompt(self) -> str:
        return prompt_hash(self.styles, {"detail": self.detail, "temperature": self.temperature})

    def _file(self, manifest: Manifest) -> Path:
        return self.ledger or manifest.path / FILE

    def _opened(self, manifest: Manifest) -> Ledger:
        return Ledger(self._file(manifest))

    def _form(self, allowance: Allowance) -> Form:
        prices = None
        if self.input_price is not None and self.output_price is not None:
            prices = (self.input_price, self.output_price)
        if allowance.max_cost is not None and prices is None:
            raise UserError(
                "--max-cost needs prices: give --set input_price=... and --set output_price=..., each for a million "
                "tokens, in the currency of --max-cost"
            )
        return Form(
            model=self.model,
            styles=self.styles,
            detail=self.detail,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            attempts=self.attempts,
            prices=prices,
        )

    async def _ask(self, service: Service, asked: _Asked) -> dict[str, str]:
        """Ask what is waiting; return image -> why it has no answer."""
        try:
            with asked.bar() as bar:
                if self.mode == "batch" or asked.outcomes.ledger.open_batches(self.model, asked.outcomes.prompt):
                    reasons = await self._by_batch(service, asked, bar)
                if self.mode == "chat":
                    reasons = await self._by_chat(service, asked, bar)
        finally:
            await service.close()
        return reasons

    async def _by_chat(self, service: Service, asked: _Asked, bar: tqdm[Any]) -> dict[str, str]:
        chat = Chat(
            service,
            asked.outcomes.form,
            prompt=asked.outcomes.prompt,
            ledger=asked.outcomes.ledger,
            budget=asked.budget(),
            pace=Pace(self.requests_per_minute),
            structured=self.structured,
        )
        await chat.ask_all(asked.questions(), at_once=self.concurrency, done=bar.update)
        return chat.reasons

    async def _by_batch(self, service: Service, asked: _Asked, bar: tqdm[Any]) -> dict[str, str]:
        """Collect what is under way, hand in what is waiting, and again while answers can't be used."""
        over: dict[str, str] = {}
        for _ in range(self.attempts + 1):
            batches = Batches(
                service,
                asked.outcomes.form,
                prompt=asked.outcomes.prompt,
                ledger=asked.outcomes.ledger,
                budget=asked.budget(),
                structured=self.structured,
            )
            await batches.find_again()
            left = await batches.collect(poll_seconds=self.poll_seconds, wait=self.wait, done=bar.update)
            if self.mode == "chat":
                break
            handed_in = await batches.hand_in(asked.questions(), most_bytes=self.batch_bytes)
            if batches.over_budget:
                over = {question.image: OVER_BUDGET for question, _ in asked.questions(everything=True)}
            if not handed_in or not self.wait:
                break
            left = await batches.collect(poll_seconds=self.poll_seconds, wait=True, done=bar.update)
            assert not left, "all batches have ended"
        return over


class _Asked:
    """What one run may ask about; `where` is the service's host, None for one on this machine."""

    def __init__(
        self, manifest: Manifest, outcomes: Outcomes, allowance: Allowance, progress: bool | None, where: str | None
    ) -> None:
        self.manifest, self.outcomes, self.allowance, self.progress = manifest, outcomes, allowance, progress
        self.where = where
        self._taken = 0

    def check_egress(self) -> None:
        """Make sure that images may be sent.

        Raises:
            UserError: by the data set's terms, or because the user did not allow it.
        """
        if self.where is not None:
            policies = {s.dataset: Policy.from_dict(s.policy) for s in self.manifest.info.sources}
            check_egress(policies, allowed=self.allowance.egress, where=self.where)

    def budget(self) -> Budget:
        """What may still be spent."""
        return Budget(self.outcomes.ledger.spent(), self.allowance.max_cost)

    def questions(self, *, everything: bool = False) -> Iterator[tuple[Question, bytes]]:
        """Questions without an answer, each image once; at most `--limit` of them over the whole run."""
        seen: set[str] = set()
        for _, image in photographs(self.manifest):
            question = self.outcomes.question(image)
            if question.image in seen or self.outcomes.settled(question):
                continue
            if self.outcomes.ledger.on_its_way(question):
                continue
            seen.add(question.image)
            if not everything:
                if self.allowance.limit is not None and self._taken >= self.allowance.limit:
                    return
                self.check_egress()  # of a batch that another run handed in, questions may come back unanswered
                self._taken += 1
            yield question, image

    def bar(self) -> tqdm[Any]:
        """Progress over the questions that are waiting."""
        total = sum(1 for _ in self.questions(everything=True))
        total = total if self.allowance.limit is None else min(total, self.allowance.limit)
        return tqdm(
            total=total,
            desc="asking",
            unit="question",
            disable=None if self.progress is None else not self.progress,
            smoothing=0.1,
        )


@contextmanager
def _memory() -> Iterator[Ledger]:
    """An empty ledger that leaves nothing behind."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "none.sqlite") as ledger:
        yield ledger
