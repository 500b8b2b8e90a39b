"""How many threads a computation may take: many here, one where a cluster runs it among others."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

from threadpoolctl import ThreadpoolController

_MOST = 8
# Doubles that are worked on from which threads pay, and from which two of them do where two logical
# processors may be one core.
_FEWEST_DOUBLES, _FEWEST_ON_TWO = 1 << 19, 1 << 24
# Which logical processors share the core of the first, where the system says so.
_SIBLINGS = Path("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
_own = threading.local()


@contextmanager
def alone() -> Iterator[None]:
    """What runs in this thread starts no other: the scheduler of a cluster has filled its cores."""
    before = is_alone()
    _own.alone = True
    try:
        yield
    finally:
        _own.alone = before


def is_alone() -> bool:
    """Whether this thread is not to start others."""
    return getattr(_own, "alone", False)


def workers(most: int = _MOST) -> int:
    """How many threads pay."""
    return 1 if is_alone() else min(_processors(), _MOST, most)


def _processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def one_blas() -> Iterator[None]:
    """BLAS on one thread: what is worked on stays in cache, where its threads only wait."""
    if getattr(_own, "one_blas", False):
        yield
        return
    _own.one_blas = True
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()
        _own.one_blas = False


class _Limit:
    """One thread for BLAS, a setting of the whole process, while any thread asks for it."""

    def __init__(self) -> None:
        self.lock, self.count = threading.Lock(), 0
        self.held: Any = None

    def enter(self) -> None:
        """Set it, for the first that asks."""
        with self.lock:
            if self.count == 0:
                self.held = _blas().limit(limits=1, user_api="blas")
            self.count += 1

    def leave(self) -> None:
        """Set it back, after the last, which may be another thread than the first."""
        with self.lock:
            self.count -= 1
            if self.count == 0:
                _take_over()
                self.held.restore_original_limits()
                _take_over()


def _take_over() -> None:
    """Newer threadpoolctl listens to one thread only, until that is done or is overruled."""
    for library in _blas().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


_limit = _Limit()


def _begin_anew() -> None:
    """In a process forked from this one the threads are gone, and locks may be held for ever."""
    global _limit
    _limit = _Limit()
    _pool.cache_clear()
    _own.__dict__.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def in_order[Item, Result](
    function: Callable[[Item], Result], items: Iterable[Item], doubles: int
) -> list[Result]:
    """`function` of every item in order, on as many threads as pay, each with one BLAS thread."""
    if is_alone():
        return list(map(function, items))
    count = workers()
    if count == 1 or doubles < (_FEWEST_ON_TWO if count == 2 and _shared() else _FEWEST_DOUBLES):
        with one_blas():
            return [function(item) for item in items]
    with one_blas(), alone():
        return _together(function, list(items), count - 1)


def _together[Item, Result](
    function: Callable[[Item], Result], items: list[Item], helpers: int
) -> list[Result]:
    """This thread takes items, and so do others of the pool as soon as they are awake."""
    left = deque(range(len(items)))
    found: dict[int, Result] = {}

    def work() -> None:
        while left:
            try:
                k = left.popleft()
            except IndexError:  # another thread took the last
                return
            found[k] = function(items[k])

    pool = _pool(helpers)
    others = []
    with suppress(RuntimeError):  # while Python shuts down there are no new threads
        others += [pool.submit(work) for _ in range(min(helpers, len(items) - 1))]
    try:
        work()
    finally:
        left.clear()
        for other in others:
            if not other.cancel():
                other.result()
    return [found[k] for k in range(len(items))]


@cache
def _shared() -> bool:
    """Whether two logical processors may be one core."""
    try:
        return not _SIBLINGS.read_text().strip().isdigit()
    except OSError:
        return True


def ahead[Item](items: Iterator[Item]) -> Iterator[Item]:
    """The items, each of them made while the one before is in use."""
    if is_alone():
        yield from items
        return
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="expfam_glm_ahead") as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield cast(Item, item)


@cache
def _pool(count: int) -> ThreadPoolExecutor:
    def serve() -> None:
        _own.alone = True  # a thread that waited for others of the same pool could wait for ever

    return ThreadPoolExecutor(count, thread_name_prefix="expfam_glm", initializer=serve)


@cache
def _blas() -> Any:
    return ThreadpoolController()
