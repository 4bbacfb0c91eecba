"""Of each page only the newest try counts; results are kept within bounds; one search at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from hdm_pipeline.errors import ConfigError, ReadError
from hdm_pipeline.grid import Window
from hdm_pipeline.session.values import Suggestion, Try, TryEndedError
from hdm_studio import tries
from hdm_studio.errors import ConflictError, NotThereError
from hdm_studio.settling import Settling
from hdm_studio.suggestions import Suggestions
from hdm_studio.tries import Tries

WINDOW = Window(z=0, y=0, x=0, height=100, width=100)


def result(scene: str) -> Try:
    empty = np.zeros((100, 100), np.uint8)
    return Try(scene, WINDOW, empty[None], empty, None, {}, {}, 0)


class Slow:
    """Computes when it is told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.started = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)

    def __call__(self, scene: str, window: Window, uncertainty: bool, stopped: Callable[[], bool]) -> Try:
        self.begun.append(scene)
        self.started.release()
        assert self.go_on.acquire(timeout=30)
        if stopped():
            raise TryEndedError("nobody waits")
        return result(scene)


def test_of_a_page_only_the_newest_is_computed_and_other_pages_are_served_too() -> None:
    compute = Slow()
    made = Tries(compute)
    with ThreadPoolExecutor(4) as pool:

        def ask(page: str, scene: str) -> Future[tuple[str, Try]]:
            return pool.submit(made.make, page, scene, WINDOW, uncertainty=False)

        first = ask("page", "first")
        assert compute.started.acquire(timeout=30)
        second = ask("page", "second")
        other = ask("other page", "other")
        with made._changed:
            assert made._changed.wait_for(lambda: made._asked["page"] == 2 and made._asked["other page"] == 1, 30)
        third = ask("page", "third")
        with pytest.raises(ConflictError):
            second.result(timeout=30)  # at once, while the first one is computed
        compute.go_on.release(3)
        with pytest.raises(ConflictError):
            first.result(timeout=30)
        number, found = third.result(timeout=30)
        assert found.scene == "third"
        assert made.get(number) is found
        assert other.result(timeout=30)[1].scene == "other"
    assert sorted(compute.begun) == ["first", "other", "third"]


def test_a_try_that_fails_leaves_the_way_free() -> None:
    def fails(*_: object) -> Try:
        raise ReadError("the scene is gone")

    made = Tries(fails)
    for _ in range(2):
        with pytest.raises(ReadError):
            made.make("page", "a", WINDOW, uncertainty=False)


def test_the_oldest_results_go_and_the_newest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Tries(lambda scene, *_: result(scene))
    size = 2 * 100 * 100
    monkeypatch.setattr(tries, "KEPT_BYTES", 2 * size)
    numbers = [made.make("page", str(n), WINDOW, uncertainty=False)[0] for n in range(3)]
    assert [made.get(number).scene for number in numbers[1:]] == ["1", "2"]
    with pytest.raises(NotThereError):
        made.get(numbers[0])
    monkeypatch.setattr(tries, "KEPT_BYTES", 1)
    assert made.get(made.make("page", "large", WINDOW, uncertainty=False)[0]).scene == "large"


def wait_for(job: Suggestions, state: str) -> None:
    for _ in range(3000):
        if job.state == state:
            return
        threading.Event().wait(0.01)
    raise AssertionError(job.state)


def test_one_search_at_a_time_and_its_progress_is_told() -> None:
    begun, go_on = [], threading.Event()
    found = Suggestion("a", WINDOW, 0.5, "unlike the examples")

    def look(heard: Callable[[float], None]) -> list[Suggestion]:
        begun.append(1)
        heard(0.25)
        assert go_on.wait(30)
        return [found]

    job = Suggestions(look)
    assert job.state == "idle"
    job.start()
    job.start()
    wait_for(job, "working")
    go_on.set()
    wait_for(job, "done")
    assert (begun, job.found, job.progress, job.error) == ([1], (found,), 1.0, None)


def test_a_search_that_fails_says_why_and_can_be_begun_anew() -> None:
    def look(_: Callable[[float], None]) -> list[Suggestion]:
        raise ReadError("the scene is gone", where="a", remedy="put it back")

    job = Suggestions(look)
    for _ in range(2):
        job.start()
        wait_for(job, "failed")
        assert job.error == {"type": "ReadError", "what": "the scene is gone", "where": "a", "remedy": "put it back"}


def test_examples_are_settled_when_it_is_quiet_and_again_if_that_was_ended() -> None:
    begun, ends = threading.Semaphore(0), [False, True]
    settled = threading.Event()

    def settle() -> bool:
        begun.release()
        if not (ended := ends.pop(0)):
            return False
        settled.set()
        return ended

    settling = Settling(settle, quiet=0.01)
    assert settling.done
    settling.drawn(lambda: WINDOW)
    assert settled.wait(30)
    assert begun.acquire(timeout=30)
    assert begun.acquire(timeout=30)
    settling.close()
    settling._thread.join(30)
    assert settling.done


def test_nothing_is_settled_while_things_change() -> None:
    settled = threading.Event()

    def settle() -> bool:
        settled.set()
        return True

    settling = Settling(settle, quiet=60)
    settling.drawn(lambda: WINDOW)
    settling.drawn(lambda: WINDOW)
    assert not settled.wait(0.05)
    assert not settling.done
    settling.close()
    settling._thread.join(30)
    assert not settled.is_set()


def test_after_the_first_a_try_unsettles_nothing_and_a_stroke_does() -> None:
    begun = threading.Semaphore(0)

    def settle() -> bool:
        begun.release()
        return True

    settling = Settling(settle, quiet=0.01)
    settling.wait()  # the first one: examples of the pipeline file were never settled
    assert begun.acquire(timeout=30)
    settling.wait()
    assert not begun.acquire(timeout=0.1)
    assert settling.done
    settling.drawn(lambda: WINDOW)
    assert begun.acquire(timeout=30)
    settling.close()


def test_what_is_being_drawn_is_not_settled_and_what_came_to_nothing_stays_so() -> None:
    settling = Settling(lambda: True, quiet=60)
    seen: list[bool] = []

    def nothing() -> None:
        seen.append(settling.done)

    def fail() -> Window:
        raise ConfigError("there is no such class")

    assert settling.drawn(nothing) is None
    assert (seen, settling.done) == ([False], True)
    with pytest.raises(ConfigError):
        settling.drawn(fail)
    assert settling.done
    assert settling.drawn(lambda: WINDOW) == WINDOW
    assert not settling.done
    settling.close()
