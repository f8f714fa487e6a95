"""Work that costs money or lets pixels out: what the user allowed, and a stop that holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a command may do beyond this machine.

    Args:
        egress: whether images may be sent to others (`--allow-egress`).
        max_cost: the most that a ledger may ever have spent, in the currency of the prices; None sets no limit.
        limit: the most questions to ask in this run; None sets no limit.
    """

    egress: bool = False
    max_cost: float | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a step would do, found out without doing it.

    Args:
        rows: captures that the step would make something for.
        known: of these, rows whose answer is in the ledger or in a batch on its way.
        questions: questions that would be asked; rows with the same image share one.
        image_bytes: that would be sent.
        prompt_tokens: that would be billed; None where nobody knows.
        completion_tokens: that would be billed; None where nobody knows.
        cost: of the tokens; None without prices.
        spent: so far, by the ledger.
        basis: what the numbers of tokens rest on.
    """

    rows: int
    known: int = 0
    questions: int = 0
    image_bytes: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None
    spent: float = 0.0
    basis: str = ""


class Budget:
    """Reserves what a request may cost at most before it leaves, and books what it did cost.

    Args:
        spent: so far.
        limit: never to be exceeded, as far as the reservations hold; None sets no limit.
    """

    def __init__(self, spent: float, limit: float | None) -> None:
        self.spent = spent
        self.limit = limit
        self._reserved = 0.0

    def reserve(self, amount: float) -> bool:
        """Set an amount aside; False where the limit does not allow it."""
        if self.limit is not None and self.spent + self._reserved + amount > self.limit:
            return False
        self._reserved += amount
        return True

    def book(self, reserved: float, cost: float) -> None:
        """Put what a request did cost (0 where it was not served) in the place of what was set aside."""
        self._reserved -= reserved
        self.spent += cost
