"""What workers could not send any more: read from their files once they are gone.

A process that is killed sends nothing, but what it wrote lies in files of its node. Those of
another node are read by a task that runs there.
"""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ddp_sweep.cluster.gang.output import Printed, unread
from ddp_sweep.cluster.gang.trial_log import Source, Unread, lines_of
from ddp_sweep.results.logs import append_text

__all__ = ["STACKS_SIGNAL", "ask_for_stacks", "collect_last_words", "print_stacks"]

STACKS_SIGNAL = signal.SIGUSR2
"""Makes a rank print where each of its threads is, also while it hangs in C code."""
_READING_S = 30.0
"""For another node to answer; one that has trouble must not hold up the sweep."""
_ASKING_S = 5.0
"""The same, while workers that hang still hold on to their resources."""
_PRINTING_S = 0.3
_HEAD_BYTES = 2**20


def collect_last_words(rest: Iterable[Unread]) -> None:
    """Add to the log what was not sent; only once the processes are gone.

    Args:
        rest: What was not read yet, of every rank.
    """
    groups: dict[str, list[Unread]] = defaultdict(list)
    for one in rest:
        groups[one.source.node_id].append(one)
    answers = [(those, _on_node(node, _read, those, _READING_S)) for node, those in groups.items()]
    for those, answer in answers:
        try:
            found = answer()
        except ray.exceptions.RayError:
            found = [None] * len(those)
        for one, pieces in zip(those, found, strict=True):
            append_text(one.log, _lines(one.source.rank, pieces))


def ask_for_stacks(sources: Iterable[Source]) -> None:
    """Have ranks print where each of their threads is, and give them a moment for it."""
    groups: dict[str, list[int]] = defaultdict(list)
    for one in sources:
        groups[one.node_id].append(one.pid)
    for answer in [_on_node(node, print_stacks, pids, _ASKING_S) for node, pids in groups.items()]:
        with suppress(ray.exceptions.RayError):
            answer()
    time.sleep(_PRINTING_S)


def _on_node(
    node_id: str, function: Callable[[Any], Any], argument: object, patience_s: float
) -> Callable[[], Any]:
    """Call a function there; what is returned waits for the answer."""
    if node_id == ray.get_runtime_context().get_node_id():
        return lambda: function(argument)
    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    task: Any = ray.remote(function).options(num_cpus=0, scheduling_strategy=there, max_retries=0)
    answer = task.remote(argument)
    return lambda: ray.get(answer, timeout=patience_s)


def _read(those: Sequence[Unread]) -> list[list[Printed] | None]:
    """What is left of each; None where it cannot be read. Files of ours are deleted."""
    return [_rest(one) for one in those]


def _rest(one: Unread) -> list[Printed] | None:
    found: list[Printed] = []
    try:
        for file, position in zip(one.source.files, one.positions, strict=True):
            found += unread(file.path, file.stream, position, head_bytes=_HEAD_BYTES)
            if file.ours:
                file.path.unlink()
    except OSError:
        return None
    return sorted(found, key=lambda piece: piece.time_s)


def _lines(rank: int, pieces: Sequence[Printed] | None) -> str:
    if pieces is None:
        return f"# what rank {rank} printed last cannot be read: its node or its files are gone\n"
    return "".join(lines_of(rank, piece) for piece in pieces)


def print_stacks(pids: Sequence[int]) -> None:
    """Have processes of this node print where they are; those that cannot are left alone."""
    for pid in pids:
        # Another process may have the number by now, and would be ended by the signal.
        if _catches(pid, STACKS_SIGNAL):
            with suppress(OSError):
                os.kill(pid, STACKS_SIGNAL)


def _catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal; False where that is not known."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        caught = next(line for line in lines if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (number - 1) & 1)
    except (OSError, StopIteration, ValueError):
        return False
