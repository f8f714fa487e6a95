"""Blocks on their way through workers that may be lost, without a cluster."""

from __future__ import annotations

import pytest

from reidsynth import flow
from reidsynth.errors import UserError
from reidsynth.flow import Flow


def handed_out(given: Flow) -> list:
    """Every block that may be handed out now."""
    return list(iter(given.next_block, None))


def test_no_more_than_the_window_is_under_way_and_results_come_in_order():
    drawn = []
    given = Flow(abs, None, (drawn.append(n) or n for n in range(9)), 4)
    blocks = handed_out(given)
    assert [block.task for block in blocks] == [0, 1, 2, 3]
    assert drawn == [0, 1, 2, 3]  # tasks are drawn as they are handed out
    for block in blocks[1:]:
        given.done[block.number] = -block.task
    assert not given.next_is_done()  # the first one is still out, and nothing may overtake it
    assert handed_out(given) == []
    given.done[0] = "first"
    taken = []
    while given.next_is_done():
        taken.append(given.take())
    assert taken == ["first", -1, -2, -3]
    assert [block.number for block in handed_out(given)] == [4, 5, 6, 7]
    assert not given.ended()


def test_a_lost_block_goes_out_again_before_new_ones_even_when_the_window_is_full():
    given = Flow(abs, None, iter("abc"), 2)
    first, _ = handed_out(given)
    given.again.append(first)
    assert given.next_block() is first
    given.done.update({0: "A", 1: "B"})
    assert [given.take(), given.take()] == ["A", "B"]
    (third,) = handed_out(given)
    assert not given.ended()  # handed out, and not there yet
    given.done[third.number] = "C"
    assert given.take() == "C"
    assert given.ended()


def test_tasks_may_be_none_and_none_may_come_out():
    given = Flow(print, None, iter([None, None]), 5)
    blocks = handed_out(given)
    assert [block.task for block in blocks] == [None, None]
    given.done.update(dict.fromkeys((0, 1)))
    assert [given.take(), given.take()] == [None, None]
    assert given.ended()


def test_nothing_to_do_is_ended_once_that_is_known():
    given = Flow(abs, None, iter(()), 3)
    assert handed_out(given) == []
    assert given.ended()


def test_patience_is_for_being_alone_without_a_break(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(flow.time, "monotonic", lambda: now[0])
    given = Flow(abs, None, iter(()), 1)
    for seconds, anybody in ((0, False), (29, False), (0, True), (5, False), (30, False)):
        now[0] += seconds
        given.look(anybody, 30.0, "head:6379")
    now[0] += 0.5
    with pytest.raises(UserError, match="the cluster at 'head:6379' gave no worker for 30 seconds"):
        given.look(False, 30.0, "head:6379")
