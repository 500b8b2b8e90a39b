"""Threads of a fit, beside those of the program around it."""

from __future__ import annotations

import multiprocessing
import threading

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from expfam_glm.kernels import threads


def blas_threads():
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


@pytest.mark.parametrize("first_leaves_first", [True, False])
def test_blas_is_set_back_after_the_last_that_limits_it(first_leaves_first):
    with threadpool_limits(limits=2, user_api="blas"):  # by other code, in this thread
        inside, leave, left = threading.Event(), threading.Event(), threading.Event()

        def other():
            with threads.one_blas():
                inside.set()
                leave.wait(30)
            left.set()

        thread = threading.Thread(target=other)
        with threads.one_blas():
            assert blas_threads() == {1}
            thread.start()
            inside.wait(30)
            if not first_leaves_first:
                leave.set()
                left.wait(30)
            assert blas_threads() == {1}
        if first_leaves_first:
            assert blas_threads() == {1}
            leave.set()
        thread.join(30)
        assert blas_threads() == {2}
    with threads.one_blas():  # the next is heard too
        assert blas_threads() == {1}


def test_nothing_is_shared_while_python_shuts_down(monkeypatch):
    monkeypatch.setattr(threads, "workers", lambda most=2: 2)
    pool = threads._pool(1)
    monkeypatch.setattr(
        pool, "submit", lambda *a: (_ for _ in ()).throw(RuntimeError("cannot schedule"))
    )
    assert threads.in_order(lambda k: 2 * k, range(4), 1 << 40) == [0, 2, 4, 6]


def test_work_is_shared_and_comes_back_in_order(monkeypatch):
    monkeypatch.setattr(threads, "workers", lambda most=3: 3)
    barrier = threading.Barrier(3, timeout=30)  # passed only by three threads at once
    found = threads.in_order(lambda k: (barrier.wait(), k)[1], range(6), 1 << 40)
    assert found == list(range(6))


def test_a_single_processor_works_alone(monkeypatch):
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: {0}, raising=False)
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
