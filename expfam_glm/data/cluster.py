"""Sums over parts of the data on the workers of a `distributed` cluster, added in a tree.

What travels to the workers is the work, as bytes, and what comes back is sums. A worker that dies
takes with it what it had computed and no more: the scheduler has others compute that again, since
nothing but the graph of the tasks is held.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, reduce
from itertools import accumulate
from typing import Any

from expfam_glm.errors import need
from expfam_glm.kernels.threads import alone

type Work[T] = Callable[[Iterator[Any], int], T | None]

_FAN = 8  # sums that one task adds


def running() -> Any:
    """The client of a cluster that runs in this process, or None."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        client = distributed.default_client()
    except ValueError:
        return None
    return client if client.status == "running" and not client.asynchronous else None


def on_cluster[T](
    client: Any,
    parts: Sequence[Any],
    lengths: Sequence[int],
    tables: Callable[[Any], Iterator[Any]],
    work: Work[T],
    add: Callable[[T, T], T],
) -> T | None:
    """Σ work(tables of a part, its first row) over the parts; the order does not depend on workers.

    Parameters
    ----------
    client : distributed.Client
    parts : sequence
        Delayed, or small objects that tell where the rows are.
    lengths : sequence of int
        The rows of each part.
    tables : callable
        A part → its tables.
    work, add : callable
    """
    delayed = need("dask", "dask").delayed
    cloudpickle = need("cloudpickle", "dask")
    with warnings.catch_warnings():  # it looks functions up in every module there is, old ones too
        warnings.simplefilter("ignore", DeprecationWarning)
        sent = cloudpickle.dumps((tables, work, add))
    starts = [0, *accumulate(lengths)]
    sums = [
        delayed(_one)(sent, part, start) for part, start in zip(parts, starts[:-1], strict=True)
    ]
    while len(sums) > 1:
        sums = [delayed(_added)(sent, sums[k : k + _FAN]) for k in range(0, len(sums), _FAN)]
    with warnings.catch_warnings():  # the rows of a frame in memory go along, as they must
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        return client.compute(sums[0]).result()


def _one(sent: bytes, part: Any, start: int) -> Any:
    """The sum of one part."""
    tables, work, _ = _opened(sent)
    with alone():
        return work(tables(part), start)


def _added(sent: bytes, sums: Sequence[Any]) -> Any:
    """Some sums added."""
    _, _, add = _opened(sent)
    there = [found for found in sums if found is not None]
    return reduce(add, there) if there else None


@lru_cache(maxsize=4)
def _opened(sent: bytes) -> Any:
    """What was sent, opened once in each process."""
    return need("cloudpickle", "dask").loads(sent)
