"""Real DDP ranks on this machine without Ray: processes that run functions handed to them."""

from __future__ import annotations

import datetime
import multiprocessing
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist

__all__ = ["RankProcesses"]


class RankProcesses:
    """A default process group of ``size`` processes over gloo, or NCCL with a GPU each.

    ``run`` calls a module-level function as ``function(rank, *arguments)`` on every rank at the
    same time and returns the results in rank order.
    """

    def __init__(self, size: int, folder: Path, backend: str = "gloo") -> None:
        context = multiprocessing.get_context("spawn")
        self.size = size
        self._connections: list[Connection] = []
        self._processes = []
        for rank in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(rank, size, str(folder), backend, theirs)
            )
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        for connection in self._connections:
            connection.send((function, arguments))
        answers = [connection.recv() for connection in self._connections]
        errors = [text for failed, text in answers if failed]
        if errors:
            raise AssertionError("\n".join(errors))
        return [result for _, result in answers]

    @property
    def exit_codes(self) -> list[int | None]:
        """How the processes ended, once they are gone."""
        for process in self._processes:
            process.join(timeout=20)
        return [process.exitcode for process in self._processes]

    def __enter__(self) -> RankProcesses:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection in self._connections:
            with suppress(OSError):  # a test may have killed it
                connection.send(None)
        for process in self._processes:
            process.join(timeout=20)
            if process.is_alive():
                process.kill()
                process.join()


def _serve(rank: int, size: int, folder: str, backend: str, connection: Connection) -> None:
    # What a worker of Ray has as well; a spawned process would hand its own way of starting on.
    multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(1)
    if backend == "nccl":
        torch.cuda.set_device(rank)
    dist.init_process_group(
        backend,
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=size,
        timeout=datetime.timedelta(seconds=60),
    )
    while (task := connection.recv()) is not None:
        function, arguments = task
        try:
            connection.send((False, function(rank, *arguments)))
        except BaseException:  # noqa: BLE001 - the test on the other side shows it
            connection.send((True, f"rank {rank}:\n{traceback.format_exc()}"))
    dist.destroy_process_group()
