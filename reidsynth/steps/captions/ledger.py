"""The ledger of paid answers: one SQLite file, in which an answer is durable before anything rests on it.

An answer belongs to (sha256 of the image's bytes, model, hash of the prompt): never to a row or a file name, so that
another manifest with the same photographs pays nothing. A language model does not give the same answer twice; that a
table can be made again, byte for byte, rests on this file alone.

An attempt is `asked` (on its way), then `answered` (billed; `problem` says why it can't be used, if so), `failed` (the
service refused to work: not billed) or `lost` (on its way when a run was killed: perhaps billed, and counted so).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from reidsynth.errors import UserError
from reidsynth.storage import disk_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

FILE = ".ledger/captions.sqlite"
_VERSION = 1
_TABLES = """
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY, image TEXT NOT NULL, model TEXT NOT NULL, prompt TEXT NOT NULL, state TEXT NOT NULL,
  content TEXT, refusal TEXT, problem TEXT, served_by TEXT, prompt_tokens INTEGER, completion_tokens INTEGER,
  cost REAL NOT NULL, batch INTEGER, asked_at REAL NOT NULL
);
CREATE INDEX attempts_by_key ON attempts (image, model, prompt);
CREATE INDEX attempts_by_batch ON attempts (batch);
CREATE TABLE batches (
  id INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, model TEXT NOT NULL, prompt TEXT NOT NULL, state TEXT NOT NULL,
  remote TEXT, requests INTEGER NOT NULL, bytes INTEGER NOT NULL, made_at REAL NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Question:
    """What an answer is kept under."""

    image: str
    model: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, billed.

    Args:
        content: the model's text.
        refusal: why the model declined, in its words; None if it did not.
        problem: why the content can't be used; None if it can.
        served_by: the model's name as the service tells it.
        prompt_tokens: billed; None where the service does not say.
        completion_tokens: billed; None where the service does not say.
    """

    content: str
    refusal: str | None = None
    problem: str | None = None
    served_by: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def usage(self) -> dict[str, int] | None:
        """Tokens, as a text table keeps them."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens}


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch that was handed in, or was about to be.

    Args:
        id: its number here.
        token: what the service was told to remember it by.
        state: `planned`, `sent` or `done`.
        remote: its id at the service; None until that is known.
        requests: how many it holds.
    """

    id: int
    token: str
    state: str
    remote: str | None
    requests: int


class Ledger:
    """Opens the ledger, making it if needed.

    Args:
        path: the SQLite file.

    Raises:
        UserError: when the file is no ledger, or of another version, or can't be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made = [folder for folder in (path, path.parent) if not folder.exists()]
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
            elif version != _VERSION:
                raise UserError(f"{path} is a ledger of version {version}, and this program reads version {_VERSION}")
        except sqlite3.Error as error:
            raise UserError(
                f"{path} can't be used as a ledger ({error}): give another file with --set ledger=FILE, and keep this "
                "one, for it may hold answers that were paid for"
            ) from error

    def __enter__(self) -> Self:
        """Use the ledger and close it."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one who asks by this ledger; what a killed run left on its way is marked as lost.

        A ledger that was made for this and in which nothing was noted (the run was refused, for example) is removed.

        Raises:
            UserError: when another process asks by it.
        """
        descriptor = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._db.execute("UPDATE attempts SET state = 'lost' WHERE state = 'asked' AND batch IS NULL")
            yield
        except BlockingIOError as error:
            self._made = []
            raise UserError(f"another process asks by the ledger {self.path}: wait for it to end") from error
        finally:
            if self.path in self._made and not self._db.execute("SELECT 1 FROM attempts LIMIT 1").fetchone():
                self._remove()
            os.close(descriptor)

    def _remove(self) -> None:
        """Take an empty ledger away, with the folder if that was made for it."""
        self._db.close()
        for suffix in ("-wal", "-shm", ".lock", ""):
            self.path.with_name(f"{self.path.name}{suffix}").unlink(missing_ok=True)
        if self.path.parent in self._made and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()

    def answer(self, question: Question) -> Reply | None:
        """The usable answer or the refusal to a question; None where there is neither."""
        found = self._replies(question, "problem IS NULL")
        return found[-1] if found else None

    def rejected(self, question: Question) -> list[Reply]:
        """Billed answers that can't be used, oldest first."""
        return self._replies(question, "problem IS NOT NULL")

    def _replies(self, question: Question, condition: str) -> list[Reply]:
        rows = self._db.execute(
            "SELECT content, refusal, problem, served_by, prompt_tokens, completion_tokens FROM attempts "
            f"WHERE image = ? AND model = ? AND prompt = ? AND state = 'answered' AND {condition} ORDER BY id",
            (question.image, question.model, question.prompt),
        )
        return [Reply(*row) for row in rows]

    def on_its_way(self, question: Question) -> bool:
        """Whether a batch that is not collected yet asks this."""
        row = self._db.execute(
            "SELECT 1 FROM attempts WHERE image = ? AND model = ? AND prompt = ? AND state = 'asked' LIMIT 1",
            (question.image, question.model, question.prompt),
        ).fetchone()
        return row is not None

    def ask(self, question: Question, reserved: float, batch: int | None = None) -> int:
        """Note that a question is about to be asked, at the cost that it may have at most; return the attempt."""
        cursor = self._db.execute(
            "INSERT INTO attempts (image, model, prompt, state, cost, batch, asked_at) "
            "VALUES (?, ?, ?, 'asked', ?, ?, ?)",
            (question.image, question.model, question.prompt, reserved, batch, time.time()),
        )
        return int(cursor.lastrowid or 0)

    def answered(self, attempt: int, reply: Reply, cost: float) -> None:
        """Keep a billed answer; it is on the disk when this returns."""
        self._db.execute(
            "UPDATE attempts SET state = 'answered', content = ?, refusal = ?, problem = ?, served_by = ?, "
            "prompt_tokens = ?, completion_tokens = ?, cost = ? WHERE id = ?",
            (
                reply.content,
                reply.refusal,
                reply.problem,
                reply.served_by,
                reply.prompt_tokens,
                reply.completion_tokens,
                cost,
                attempt,
            ),
        )

    def restore(self, question: Question, reply: Reply) -> None:
        """Keep an answer that was paid for by a ledger that is gone."""
        self.answered(self.ask(question, 0.0), reply, 0.0)

    def failed(self, attempt: int, problem: str) -> None:
        """Note that the service did no work on a question: it costs nothing."""
        self._db.execute("UPDATE attempts SET state = 'failed', problem = ?, cost = 0 WHERE id = ?", (problem, attempt))

    def spent(self) -> float:
        """All that was billed by this ledger, what may have been billed included."""
        return float(self._db.execute("SELECT COALESCE(SUM(cost), 0) FROM attempts").fetchone()[0])

    def lost(self) -> int:
        """Requests that were on their way when a run was killed."""
        return int(self._db.execute("SELECT COUNT(*) FROM attempts WHERE state = 'lost'").fetchone()[0])

    def most_tokens(self, model: str, prompt: str) -> tuple[int, int, int] | None:
        """Largest prompt, largest and mean answer in tokens seen so far; None before the first answer."""
        row = self._db.execute(
            "SELECT MAX(prompt_tokens), MAX(completion_tokens), AVG(completion_tokens) FROM attempts WHERE model = ? "
            "AND prompt = ? AND state = 'answered' AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL",
            (model, prompt),
        ).fetchone()
        return None if row[0] is None else (int(row[0]), int(row[1]), round(row[2]))

    def plan_batch(
        self, token: str, questions: Iterable[tuple[Question, float]], *, model: str, prompt: str, size: int
    ) -> BatchRecord:
        """Record a batch and its questions before the service hears of it, all or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            cursor = self._db.execute(
                "INSERT INTO batches (token, model, prompt, state, requests, bytes, made_at) "
                "VALUES (?, ?, ?, 'planned', 0, ?, ?)",
                (token, model, prompt, size, time.time()),
            )
            batch = int(cursor.lastrowid or 0)
            count = sum(1 for question, reserved in questions if self.ask(question, reserved, batch))
            self._db.execute("UPDATE batches SET requests = ? WHERE id = ?", (count, batch))
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        return BatchRecord(batch, token, "planned", None, count)

    def sent_batch(self, batch: int, remote: str) -> None:
        """Record a batch's id at the service."""
        self._db.execute("UPDATE batches SET state = 'sent', remote = ? WHERE id = ?", (remote, batch))

    def close_batch(self, batch: int, problem: str) -> None:
        """Note that a batch has come to its end: what it did not answer was not billed."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(
            "UPDATE attempts SET state = 'failed', problem = ?, cost = 0 WHERE batch = ? AND state = 'asked'",
            (problem, batch),
        )
        self._db.execute("UPDATE batches SET state = 'done' WHERE id = ?", (batch,))
        self._db.execute("COMMIT")

    def open_batches(self, model: str, prompt: str) -> list[BatchRecord]:
        """Batches that are not collected yet, oldest first."""
        rows = self._db.execute(
            "SELECT id, token, state, remote, requests FROM batches WHERE model = ? AND prompt = ? AND state != 'done' "
            "ORDER BY id",
            (model, prompt),
        )
        return [BatchRecord(*row) for row in rows]

    def attempts_of(self, batch: int) -> dict[str, int]:
        """Image -> attempt, of the questions of a batch that have no answer yet."""
        rows = self._db.execute("SELECT image, id FROM attempts WHERE batch = ? AND state = 'asked'", (batch,))
        return {str(image): int(attempt) for image, attempt in rows}


def image_sha256(image: bytes) -> str:
    """Checksum that an image's answers are kept under."""
    return hashlib.sha256(image).hexdigest()
