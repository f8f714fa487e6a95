"""What every way of asking shares: the request's body, its price, and what makes of a reply an answer or a problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reidsynth.steps.captions.answers import BadAnswer, parse_answer
from reidsynth.steps.captions.ledger import Question, Reply
from reidsynth.steps.captions.prompts import messages, response_format, text_size
from reidsynth.steps.captions.service import read_reply
from reidsynth.storage import content_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reidsynth.steps.captions.ledger import Ledger

_LETTERS_PER_TOKEN = 3.5  # of English and JSON; a first guess, until the service has told
_IMAGE_TOKENS = 1500  # a first guess that is high for crops at most services
_ANSWER_TOKENS = 450
_CUT_OFF = "was cut off at its largest length"


@dataclass(frozen=True, slots=True)
class Form:
    """What is asked, in all but the image.

    Args:
        model: as the service calls it.
        styles: of the captions.
        detail: of the image.
        max_tokens: of an answer; doubled after an answer that was cut off.
        temperature: None leaves it to the service.
        attempts: billed answers to one question before it is given up.
        prices: of a million prompt and a million answer tokens; None where unknown.
    """

    model: str
    styles: tuple[str, ...]
    detail: str
    max_tokens: int
    temperature: float | None
    attempts: int
    prices: tuple[float, float] | None

    def body(self, image: bytes, rejected: list[Reply], structured: str, limit_name: str) -> dict[str, Any]:
        """Body of a request.

        Args:
            image: encoded.
            rejected: earlier answers that could not be used.
            structured: `schema`, `json` or `prompt`.
            limit_name: how the service calls the largest length of an answer.
        """
        last = rejected[-1] if rejected else None
        wrong = (last.content, last.problem) if last is not None and last.problem not in (None, _CUT_OFF) else None
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages(image, self.styles, detail=self.detail, rejected=wrong),
            limit_name: self.largest(rejected),
        }
        form = response_format(structured, self.styles)
        body |= {} if form is None else {"response_format": form}
        return body | ({} if self.temperature is None else {"temperature": self.temperature})

    def largest(self, rejected: list[Reply]) -> int:
        """Largest length of an answer after those that were cut off."""
        return self.max_tokens * int(2 ** sum(reply.problem == _CUT_OFF for reply in rejected))

    def read(self, body: Mapping[str, Any]) -> Reply:
        """The reply in a response, with what is wrong with it."""
        reply, cut_off = read_reply(body)
        if reply.refusal is not None:
            return reply
        try:
            parse_answer(reply.content, self.styles)
        except BadAnswer as problem:
            found = _CUT_OFF if cut_off else str(problem)
            return Reply(reply.content, None, found, reply.served_by, reply.prompt_tokens, reply.completion_tokens)
        return reply

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Price of tokens; 0 without prices."""
        if self.prices is None:
            return 0.0
        return (prompt_tokens * self.prices[0] + completion_tokens * self.prices[1]) / 1e6

    def billed(self, reply: Reply, reserved: float) -> float:
        """Price of a reply; what was reserved where the service does not tell its tokens."""
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            return reserved
        return self.cost(reply.prompt_tokens, reply.completion_tokens)

    def at_most(self, largest_prompt: int | None, rejected: list[Reply]) -> float:
        """Price of one request if its answer is as long as it may be.

        Args:
            largest_prompt: tokens of the largest question so far; None before the first answer.
            rejected: an earlier answer is sent along with its correction.
        """
        prompt_tokens = round(largest_prompt * 1.1) if largest_prompt else self.guessed_prompt()
        again = rejected[-1].completion_tokens or self.max_tokens if rejected else 0
        return self.cost(prompt_tokens + again, self.largest(rejected))

    def guessed_prompt(self) -> int:
        """Tokens of a question before any service has told."""
        return round(text_size(self.styles) / _LETTERS_PER_TOKEN) + _IMAGE_TOKENS

    def expected(self, ledger: Ledger, prompt: str) -> tuple[int, int, str]:
        """Tokens of a question and of its answer, and what this rests on."""
        seen = ledger.most_tokens(self.model, prompt)
        if seen is None:
            return self.guessed_prompt(), _ANSWER_TOKENS, "a guess: nothing was asked by this ledger yet"
        return seen[0], seen[2], "the answers in the ledger"


def idempotency_key(question: Question, attempt: int, body: Mapping[str, Any]) -> str:
    """Key of one attempt at a question: the same when a killed run asks it again, another when it is put otherwise."""
    return content_key(question.image, question.model, question.prompt, attempt, body.get("response_format"))


IMAGE_LETTERS = 40


def custom_id(question: Question, attempt: int) -> str:
    """Name of a question in a batch: the beginning of its image's checksum, and the attempt; at most 64 letters."""
    return f"{question.image[:IMAGE_LETTERS]}-{attempt}"
