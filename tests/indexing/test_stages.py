import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from rag_pipeline.indexing.stages import Stages


def counted(log: list[int], upto: int) -> Iterator[int]:
    for number in range(upto):
        log.append(number)
        yield number


def wait_for(what: object, seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.005)


def test_items_arrive_in_order_through_several_stages() -> None:
    with Stages(2) as stages:
        doubled = stages.ahead(2 * n for n in stages.ahead(range(100)))
        assert list(stages.ahead(n + 1 for n in doubled)) == [2 * n + 1 for n in range(100)]


def test_a_stage_runs_ahead_by_its_depth_and_no_further() -> None:
    made: list[int] = []
    with Stages(3) as stages:
        items = stages.ahead(counted(made, 100))
        wait_for(lambda: len(made) == 4)  # three in the queue, one in the hand
        time.sleep(0.1)
        assert made == [0, 1, 2, 3]
        assert next(items) == 0
        wait_for(lambda: len(made) == 5)


def test_stages_work_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=5)

    def early() -> Iterator[int]:
        yield 1
        meeting.wait()
        yield 2

    with Stages(1) as stages:
        items = stages.ahead(early())
        assert next(items) == 1
        meeting.wait()  # breaks after 5 s unless the first stage goes on meanwhile
        assert list(items) == [2]


def test_what_a_stage_raises_is_raised_where_its_items_are_taken() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with Stages(2) as stages:
        last = stages.ahead(n for n in stages.ahead(failing()))
        assert next(last) == 1
        with pytest.raises(ValueError, match="broken"):
            next(last)


def test_a_failure_of_the_last_ends_all_the_others() -> None:
    made: list[int] = []
    stopped: list[bool] = []
    before = threading.active_count()
    with contextlib.suppress(KeyError), Stages(2, on_stop=lambda: stopped.append(True)) as stages:
        for _ in stages.ahead(n for n in stages.ahead(counted(made, 10**9))):
            raise KeyError
    assert threading.active_count() == before
    assert stopped == [True]
    assert len(made) < 20


def test_who_waits_is_told_so() -> None:
    gate = threading.Event()
    waits: list[bool] = []

    def late() -> Iterator[int]:
        gate.wait()
        yield 1

    def waiting() -> None:
        waits.append(True)
        gate.set()

    with Stages(1) as stages:
        assert list(stages.ahead(late(), while_waiting=waiting)) == [1]
    assert waits == [True]


def test_a_generator_is_closed_before_the_stages_have_ended() -> None:
    closed: list[str] = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(threading.current_thread().name)

    with Stages(1) as stages:
        next(stages.ahead(endless()))
    assert len(closed) == 1
    assert closed != [threading.current_thread().name]
