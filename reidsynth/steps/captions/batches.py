"""Questions in batches: files of requests that a service answers within a day, at a lower price.

A batch is recorded with its questions before the service hears of it, under a token that the service keeps with it;
its id is recorded before anything waits for it. A killed run therefore finds every batch again: by its id, or by its
token in the service's list. Whatever a batch answered is kept, also when it expired, failed or was cancelled.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from reidsynth.errors import UserError
from reidsynth.steps.captions.asking import IMAGE_LETTERS, custom_id
from reidsynth.steps.captions.service import Throttled, Unavailable, openai_errors, sorted_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from reidsynth.spending import Budget
    from reidsynth.steps.captions.asking import Form
    from reidsynth.steps.captions.ledger import BatchRecord, Ledger, Question
    from reidsynth.steps.captions.service import Service

MOST_REQUESTS = 50_000
MOST_BYTES = 190_000_000  # of the 200 MB that services take; base64 crops reach this long before the requests
TOKEN = "reidsynth"
_PAUSES = (0.5, 2.0, 8.0, 30.0, 60.0)  # seconds between looks at a service that fails
_ENDED = ("completed", "expired", "failed", "cancelled")


class Batches:
    """Hands questions in by the file, and collects answers.

    Args:
        service: who is asked.
        form: what is asked.
        prompt: hash of what is asked.
        ledger: keeps batches and answers.
        budget: may stop the run.
        structured: `schema`, `json` or `prompt`; `auto` is `schema`.
    """

    def __init__(
        self, service: Service, form: Form, *, prompt: str, ledger: Ledger, budget: Budget, structured: str = "auto"
    ) -> None:
        self._service, self._form, self._prompt = service, form, prompt
        self._ledger, self._budget = ledger, budget
        self._structured = "schema" if structured == "auto" else structured
        self.over_budget = False

    async def hand_in(
        self, questions: Iterable[tuple[Question, bytes]], *, most_bytes: int = MOST_BYTES, most: int = MOST_REQUESTS
    ) -> int:
        """Send questions in as many files as their bytes need.

        Args:
            questions: with their images; one file's worth is in memory at a time.
            most_bytes: of a file.
            most: requests of a file.

        Returns:
            The number of questions handed in.

        Raises:
            UserError: when the service does not take a file.
        """
        seen = self._ledger.most_tokens(self._form.model, self._prompt)
        total = 0
        for lines, asked in _files(self._lines(questions, seen[0] if seen else None), most_bytes, most):
            token = uuid.uuid4().hex
            size = sum(map(len, lines))
            record = self._ledger.plan_batch(token, asked, model=self._form.model, prompt=self._prompt, size=size)
            total += record.requests
            self._ledger.sent_batch(record.id, await self._sent(token, b"".join(lines)))
        return total

    async def _sent(self, token: str, content: bytes) -> str:
        """Hand a file in under its token; return the batch's id."""
        client = self._service.client
        file = await self._changed(lambda: client.files.create(file=(f"{token}.jsonl", content), purpose="batch"))
        sent = await self._changed(
            lambda: client.batches.create(
                input_file_id=file.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={TOKEN: token},
            )
        )
        return str(sent.id)

    def _lines(
        self, questions: Iterable[tuple[Question, bytes]], largest: int | None
    ) -> Iterator[tuple[bytes, tuple[Question, float]]]:
        for question, image in questions:
            rejected = self._ledger.rejected(question)
            reserved = self._form.at_most(largest, rejected)
            if not self._budget.reserve(reserved):
                self.over_budget = True
                return
            line = {
                "custom_id": custom_id(question, len(rejected)),
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": self._form.body(image, rejected, self._structured, "max_tokens"),
            }
            yield json.dumps(line, ensure_ascii=False).encode() + b"\n", (question, reserved)

    async def find_again(self) -> None:
        """Learn the ids of batches that a killed run handed in without recording them; drop what never arrived."""
        unknown = {record.token: record for record in self._open() if record.remote is None}
        if not unknown:
            return
        page = await self._looked(lambda: self._service.client.batches.list(limit=100))
        async for remote in page:
            record = unknown.pop((remote.metadata or {}).get(TOKEN, ""), None)
            if record is not None:
                self._ledger.sent_batch(record.id, remote.id)
        for record in unknown.values():
            self._ledger.close_batch(record.id, "the batch never arrived at the service")

    def _open(self) -> list[BatchRecord]:
        return self._ledger.open_batches(self._form.model, self._prompt)

    async def collect(self, *, poll_seconds: float, wait: bool, done: Callable[[int], object]) -> int:
        """Take what batches have answered into the ledger.

        Args:
            poll_seconds: between two looks.
            wait: until every batch has ended; otherwise one look.
            done: called with the number of answers taken in.

        Returns:
            The number of batches that are still under way.

        Raises:
            UserError: when the service can't be asked.
        """
        while True:
            for record in self._open():
                assert record.remote is not None, "find_again or hand_in has seen to it"
                remote = await self._looked(partial(self._service.client.batches.retrieve, record.remote))
                if remote.status in _ENDED:
                    done(await self._take_in(record, remote))
            left = len(self._open())
            if not left or not wait:
                return left
            await asyncio.sleep(poll_seconds)

    async def _take_in(self, record: BatchRecord, remote: Any) -> int:  # noqa: ANN401 - the library's class
        waiting = {image[:IMAGE_LETTERS]: attempt for image, attempt in self._ledger.attempts_of(record.id).items()}
        taken = 0
        for file in (remote.output_file_id, remote.error_file_id):
            if not file:
                continue
            content = await self._looked(partial(self._service.client.files.content, file))
            for line in content.text.splitlines():
                taken += self._take(line, waiting)
        reason = {"expired": "the batch expired before it came to this"}.get(remote.status)
        self._ledger.close_batch(record.id, reason or _why(remote))
        return taken

    def _take(self, line: str, waiting: dict[str, int]) -> bool:
        """Keep one line of a result; results come in any order, and broken lines count as not answered."""
        try:
            values = json.loads(line)
            attempt = waiting[values["custom_id"].split("-")[0]]
            response = values.get("response") or {}
            if response.get("status_code") != 200 or not response["body"].get("choices"):
                error = values.get("error") or (response.get("body") or {}).get("error") or {}
                self._ledger.failed(attempt, str(error.get("message") or error.get("code") or "not answered")[:200])
                return False
            reply = self._form.read(response["body"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        reserved = self._form.at_most(None, [])
        self._ledger.answered(attempt, reply, self._form.billed(reply, reserved))
        return True

    async def _looked(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - the library's classes
        """The result of a call that changes nothing; a day has faults that pass, so it is tried again."""
        for pause in _PAUSES:
            try:
                return await call()
            except openai_errors() as error:
                found = self._fault(error)
                if isinstance(found, UserError):
                    raise found from error
                await asyncio.sleep(found.seconds or pause if isinstance(found, Throttled) else pause)
        return await self._changed(call)

    async def _changed(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - the library's classes
        """The result of a call that must not be made twice: after a fault, the next run looks what became of it."""
        try:
            return await call()
        except openai_errors() as error:
            found = self._fault(error)
            raise (found if isinstance(found, UserError) else self._stopped(str(found))) from error

    def _fault(self, error: Exception) -> Exception:
        import openai

        if isinstance(error, openai.APIStatusError):
            return sorted_error(error, self._service.host)
        return Unavailable(str(error.__cause__ or error))

    def _stopped(self, reason: str) -> UserError:
        return UserError(
            f"{self._service.host} did not serve the batches ({' '.join(reason.split())}): run the same command again; "
            "batches that were handed in are found again and not paid for twice"
        )


def _why(remote: Any) -> str:  # noqa: ANN401 - the library's class
    errors = getattr(remote.errors, "data", None) or []
    told = "; ".join(str(error.message) for error in errors[:3])
    return f"the batch {remote.status} without it" + (f" ({told})" if told else "")


def _files(
    lines: Iterable[tuple[bytes, tuple[Question, float]]], most_bytes: int, most: int
) -> Iterator[tuple[list[bytes], list[tuple[Question, float]]]]:
    """Cut lines into files by their bytes first, then by their number."""
    chosen: list[bytes] = []
    asked: list[tuple[Question, float]] = []
    size = 0
    for line, question in lines:
        if chosen and (size + len(line) > most_bytes or len(chosen) >= most):
            yield chosen, asked
            chosen, asked, size = [], [], 0
        chosen.append(line)
        asked.append(question)
        size += len(line)
    if chosen:
        yield chosen, asked
