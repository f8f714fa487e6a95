"""Questions one by one, many at a time: every answer is in the ledger before the next step rests on it."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from reidsynth.errors import UserError
from reidsynth.steps.captions.asking import idempotency_key
from reidsynth.steps.captions.service import Declined, Throttled, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from reidsynth.spending import Budget
    from reidsynth.steps.captions.asking import Form
    from reidsynth.steps.captions.ledger import Ledger, Question, Reply
    from reidsynth.steps.captions.pace import Pace
    from reidsynth.steps.captions.service import Service

OVER_BUDGET = "not asked: --max-cost is reached"
_TRIES = 6  # of one request at a service that fails
_FIRST_PAUSE = 0.25  # seconds after its first failure; doubled after each
_WAITS = 60  # of one request at a service that asks to wait
_LONGEST_WAIT = 900.0
_GIVEN_UP = 3  # questions in a row that the service would not serve, before the run stops


class Chat:
    """Asks one question after the other, some of them at a time.

    A fault of one request is tried again; three questions in a row that are not served end the run, and so does a
    fault that no waiting mends (no quota, a wrong key). What is on its way then is still received and kept.

    Args:
        service: who is asked.
        form: what is asked.
        prompt: hash of what is asked.
        ledger: keeps the answers.
        budget: may stop the run.
        pace: gives turns.
        structured: `auto` begins with the strict schema and does with less where the service knows less.
    """

    def __init__(
        self,
        service: Service,
        form: Form,
        *,
        prompt: str,
        ledger: Ledger,
        budget: Budget,
        pace: Pace,
        structured: str = "auto",
    ) -> None:
        self._prompt = prompt
        self._service, self._form, self._ledger = service, form, ledger
        self._budget, self._pace = budget, pace
        self._fixed = structured != "auto"
        self._structured = "schema" if structured == "auto" else structured
        self._limit_name = "max_tokens"
        self._fault: UserError | None = None
        self._given_up = 0
        self._over = False
        self._largest: int | None = None
        self._blind = True
        self.reasons: dict[str, str] = {}
        """Image -> why it has no answer after this run."""

    async def ask_all(
        self, questions: Iterable[tuple[Question, bytes]], *, at_once: int, done: Callable[[], object]
    ) -> None:
        """Ask.

        Args:
            questions: with their images; taken one at a time, so that memory stays flat.
            at_once: requests on their way at the same time.
            done: called after each question.

        Raises:
            UserError: when the run had to end; answers that came are in the ledger.
        """
        running: set[asyncio.Task[None]] = set()
        seen = self._ledger.most_tokens(self._form.model, self._prompt)
        self._largest, self._blind = (seen[0], False) if seen else (None, self._budget.limit is not None)
        try:
            for question, image in questions:
                if self._fault is not None:
                    break
                if self._over:
                    self.reasons[question.image] = OVER_BUDGET
                    continue
                task = asyncio.create_task(self._ask(question, image))
                task.add_done_callback(lambda _: done())
                running.add(task)
                # The first answer tells what a request costs; until then nothing is asked beside it.
                while len(running) >= (1 if self._blind else at_once):
                    finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    for each in finished:
                        each.result()
        except asyncio.CancelledError:
            self._fault = UserError("interrupted")  # tasks that wait for their turn give up
            raise
        finally:
            if running:  # what is on its way may be billed: receive it
                finished, _ = await asyncio.wait(running)
                for each in finished:
                    each.result()
        if self._fault is not None:
            raise self._fault

    async def _ask(self, question: Question, image: bytes) -> None:
        rejected = self._ledger.rejected(question)
        while len(rejected) < self._form.attempts:
            reserved = self._form.at_most(self._largest, rejected)
            if not self._budget.reserve(reserved):
                self._over = True
                self.reasons[question.image] = OVER_BUDGET
                return
            attempt = self._ledger.ask(question, reserved)
            try:
                reply = await self._served(question, image, rejected)
            except (Declined, Unavailable) as error:
                self._not_served(question, attempt, reserved, error)
                return
            except UserError as error:
                self._not_served(question, attempt, reserved, error)
                self._fault = self._fault or error
                return
            cost = self._form.billed(reply, reserved)
            self._ledger.answered(attempt, reply, cost)
            self._budget.book(reserved, cost)
            self._given_up, self._blind = 0, False
            self._largest = max(self._largest or 0, reply.prompt_tokens or 0) or None
            if reply.problem is None:
                return
            rejected.append(reply)

    def _not_served(self, question: Question, attempt: int, reserved: float, error: Exception) -> None:
        reason = " ".join(str(error).split())
        self._ledger.failed(attempt, reason)
        self._budget.book(reserved, 0.0)
        self.reasons[question.image] = f"not answered: {reason}"
        self._given_up += 1
        if self._given_up >= _GIVEN_UP and self._fault is None:
            self._fault = UserError(
                f"{self._service.host} served none of the last {self._given_up} questions (the last reason: {reason}): "
                "run the same command again when it works; answers that came are in the ledger and not paid for twice"
            )

    async def _served(self, question: Question, image: bytes, rejected: list[Reply]) -> Reply:
        """A reply, after waiting and trying again where that helps."""
        failures = waits = 0
        while True:
            await self._pace.turn()
            if self._fault is not None:
                raise Unavailable("the run ended before this was asked")
            body = self._form.body(image, rejected, self._structured, self._limit_name)
            key = idempotency_key(question, len(rejected), body)
            try:
                return self._form.read(await self._service.chat(body, key))
            except Throttled as throttled:
                waits += 1
                self._wait(throttled, waits)
            except Unavailable:
                failures += 1
                if failures >= _TRIES:
                    raise
                await asyncio.sleep(min(_FIRST_PAUSE * 2**failures, 30.0))
            except Declined as declined:
                if not self._adapted(str(declined), body):
                    raise

    def _wait(self, throttled: Throttled, waits: int) -> None:
        seconds = min(0.5 * 2 ** min(waits, 7), 60.0) if throttled.seconds is None else throttled.seconds
        if seconds > _LONGEST_WAIT or waits > _WAITS:
            raise UserError(
                f"{self._service.host} asks to wait {seconds:.0f} seconds before the next request (asked {waits} "
                "times): run the same command again later; answers that came are in the ledger"
            )
        self._pace.hold(seconds)

    def _adapted(self, reason: str, sent: dict[str, Any]) -> bool:
        """Whether the request can be put in another way that a service with this complaint may know."""
        if "max_completion_tokens" in reason and "max_tokens" in sent:
            self._limit_name = "max_completion_tokens"
            return True
        if self._fixed or not re.search(r"response_format|json_schema|schema|structured", reason, re.IGNORECASE):
            return False
        was = {"json_schema": "schema", "json_object": "json"}.get(sent.get("response_format", {}).get("type", ""))
        if was is None:
            return False
        if was == self._structured:  # another request may have stepped down meanwhile
            self._structured = {"schema": "json", "json": "prompt"}[was]
        return True
