"""Threads of a fit, beside those of the program around it."""

from __future__ import annotations

import multiprocessing
import threading
from contextlib import contextmanager

import pytest

from expfam_glm.kernels import threads


class Controller:
    """Stands for the BLAS of the process: how many threads it takes."""

    def __init__(self):
        self.threads = 2

    @contextmanager
    def limit(self, limits, user_api):
        before, self.threads = self.threads, limits
        yield
        self.threads = before


def test_blas_is_set_back_after_the_last_that_limits_it(monkeypatch):
    blas = Controller()
    monkeypatch.setattr(threads, "_blas", lambda: blas)
    limit = threads._Limit()
    for step, expected in ((limit.enter, 1), (limit.enter, 1), (limit.leave, 1), (limit.leave, 2)):
        step()  # two threads, the first of which ends first
        assert blas.threads == expected


def test_work_is_shared_and_comes_back_in_order(monkeypatch):
    monkeypatch.setattr(threads, "workers", lambda most=3: 3)
    barrier = threading.Barrier(3, timeout=30)  # passed only by three threads at once
    found = threads.in_order(lambda k: (barrier.wait(), k)[1], range(6), 1 << 40)
    assert found == list(range(6))


def test_a_single_processor_works_alone(monkeypatch):
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 1)
    assert threads.in_order(lambda k: 2 * k, range(4), 1 << 40) == [0, 2, 4, 6]


@pytest.mark.parametrize("bad", [0, 3, 5])
def test_what_fails_in_a_thread_is_raised_where_the_work_was_asked_for(monkeypatch, bad):
    monkeypatch.setattr(threads, "workers", lambda most=3: 3)
    with pytest.raises(ZeroDivisionError):
        threads.in_order(lambda k: 1 / (k - bad), range(6), 1 << 40)
    assert not threads.is_alone()
    assert threads.in_order(lambda k: k, range(6), 1 << 40) == list(range(6))


def test_two_logical_processors_share_small_work_only_where_they_are_two_cores(
    monkeypatch, tmp_path
):
    siblings = tmp_path / "siblings"
    monkeypatch.setattr(threads, "_SIBLINGS", siblings)
    for text, shared in ((None, True), ("0\n", False), ("0-1\n", True), ("0,1\n", True)):
        if text is not None:
            siblings.write_text(text)
        threads._shared.cache_clear()
        assert threads._shared() is shared
    threads._shared.cache_clear()


def doubled(queue):
    queue.put(threads.in_order(lambda k: 2 * k, range(4), 1 << 40))


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(monkeypatch):
    monkeypatch.setattr(threads, "workers", lambda most=2: 2)
    assert threads.in_order(lambda k: 2 * k, range(4), 1 << 40) == [0, 2, 4, 6]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=doubled, args=(queue,), daemon=True)
    process.start()
    try:
        assert queue.get(timeout=30) == [0, 2, 4, 6]
    finally:
        process.kill()
