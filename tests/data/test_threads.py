"""Threads of a fit, beside those of the program around it."""

from __future__ import annotations

import multiprocessing
from contextlib import contextmanager

import pytest

from expfam_glm.data import threads


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


def doubled(queue):
    queue.put(list(threads.in_order(lambda k: 2 * k, range(4), 1 << 40)))


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(monkeypatch):
    monkeypatch.setattr(threads, "workers", lambda most=2: 2)
    assert list(threads.in_order(lambda k: 2 * k, range(4), 1 << 40)) == [0, 2, 4, 6]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=doubled, args=(queue,), daemon=True)
    process.start()
    try:
        assert queue.get(timeout=30) == [0, 2, 4, 6]
    finally:
        process.kill()
