"""When Python collects: never while something is loaded, never over what is loaded while frames are worked on."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
from clip_rl_perception.threads.collection import begin_work, end_work, loading, working


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The collector as it was."""
    thresholds, enabled = gc.get_threshold(), gc.isenabled()
    yield
    gc.set_threshold(*thresholds)
    gc.enable() if enabled else gc.disable()
    gc.unfreeze()


class Ring:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.self = self


@pytest.fixture
def passes() -> Iterator[list[int]]:
    """Generations of the passes that are made."""
    made: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            made.append(info["generation"])

    gc.callbacks.append(note)
    yield made
    gc.callbacks.remove(note)


def churn() -> None:
    """Garbage and lasting objects enough for passes over every generation, were they not set aside."""
    kept = [[Ring()] for _ in range(2_000)]
    assert kept


def test_nothing_is_collected_while_something_is_loaded(passes: list[int]) -> None:
    gc.set_threshold(50, 2, 2)
    with loading():
        del passes[:]
        with loading():
            churn()
        churn()
        assert passes == []
    assert gc.isenabled()
    churn()
    assert passes


def test_who_has_switched_the_collector_off_keeps_it_off() -> None:
    gc.disable()
    with loading():
        pass
    assert not gc.isenabled()


def test_loading_that_fails_leaves_the_collector_on() -> None:
    with pytest.raises(OSError), loading():
        raise OSError
    assert gc.isenabled()


def test_what_is_loaded_is_passed_over_while_work_goes_on(passes: list[int]) -> None:
    loaded = [[] for _ in range(300_000)]
    garbage = weakref.ref(Ring())
    with working("replay"):
        assert garbage() is None, "garbage was set aside"
        assert gc.get_freeze_count() > len(loaded)
        del passes[:]
        gc.set_threshold(50, 2, 2)
        churn()
        assert 0 in passes and 2 not in passes
    assert gc.get_freeze_count() == 0


def test_nothing_is_set_aside_for_good() -> None:
    ring = Ring()
    garbage = weakref.ref(ring)
    begin_work("node")
    del ring
    gc.collect()
    assert garbage() is not None, "it was not set aside"
    end_work("node")
    gc.collect()
    assert garbage() is None


def test_the_last_one_who_works_gives_back_what_was_set_aside() -> None:
    begin_work("left")
    begin_work("right")
    end_work("left")
    end_work("left")
    end_work("another")
    assert gc.get_freeze_count() > 0
    end_work("right")
    assert gc.get_freeze_count() == 0
