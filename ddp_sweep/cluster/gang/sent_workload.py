"""Sends a workload that was made in a script or a notebook to the workers, by value.

Such a class exists in this process only, so its code travels with it. What pickle would still send
as a name is a function with a cache (``functools.cache``), which data sets are often kept with: it
is made anew on the other side, with an empty cache.
"""

from __future__ import annotations

import copyreg
import functools
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ray import cloudpickle
from ray.util import inspect_serializability

from ddp_sweep.cluster.gang.serving import RankWorker
from ddp_sweep.errors import WorkloadError
from ddp_sweep.training.messages import WorkerSetup
from ddp_sweep.training.worker import Worker
from ddp_sweep.workload import WorkloadFactory

__all__ = ["SentWorkload"]

_Cached: Any = functools._lru_cache_wrapper


@dataclass(frozen=True)
class SentWorkload:
    """A worker factory that carries the workload along.

    Attributes:
        pickled: The workload's class or function.
    """

    pickled: bytes

    @classmethod
    def of(cls, factory: WorkloadFactory) -> SentWorkload:
        """Pickle it once, before anything is started.

        Raises:
            WorkloadError: It refers to something that cannot be sent.
        """
        try:
            with _cached_functions_by_value():
                return cls(cloudpickle.dumps(factory))  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - whatever an object of the user's raises
            raise WorkloadError(
                f"{_culprit(factory)} cannot be sent to the workers: {error}. Make what it refers "
                "to (open files, connections, locks, generators, models on a device) inside its "
                "methods, or put the workload into a file and name it as file.py:Class"
            ) from None

    def __call__(
        self,
        setup: WorkerSetup,
        rank: int,
        *,
        emit_progress: Callable[[dict[str, Any]], None],
        node: str,
    ) -> RankWorker:
        """The worker of a rank, with the workload unpacked in its process."""
        factory = cloudpickle.loads(self.pickled)
        return Worker(setup, rank, emit_progress=emit_progress, node=node, factory=factory)


def _culprit(factory: WorkloadFactory) -> str:
    """What of a workload cannot be sent, by name: ``Mine.build_model.LOCK``."""
    name = getattr(factory, "__name__", repr(factory))
    with suppress(Exception):
        _, found = inspect_serializability(factory, name, print_file=io.StringIO())
        paths: list[tuple[str, ...]] = [one.path for one in found]
        shortest = min(paths, key=len)
        return ".".join(shortest)
    return name


@contextmanager
def _cached_functions_by_value() -> Iterator[None]:
    before = copyreg.dispatch_table.get(_Cached)
    copyreg.pickle(_Cached, _reduce_cached)
    try:
        yield
    finally:
        del copyreg.dispatch_table[_Cached]
        if before is not None:
            copyreg.dispatch_table[_Cached] = before


def _reduce_cached(cached: Any) -> Any:  # noqa: ANN401 - what pickle asks for
    if cached.__module__ != "__main__":
        return cached.__reduce__()  # a name that can be imported there as well
    parameters = cached.cache_parameters()
    return _cached_anew, (cached.__wrapped__, parameters["maxsize"], parameters["typed"])


def _cached_anew(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:  # noqa: ANN401
    return functools.lru_cache(maxsize=maxsize, typed=typed)(function)
