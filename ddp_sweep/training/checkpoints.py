"""Checkpoints of a training, seen from one rank: when to take one, and how to go on from it.

The ranks decide together that one is due (see :mod:`ddp_sweep.training.context`), and each hands
its own part to a store. What the store does with the parts takes its time beside the training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.states import State, content_of, state_in
from ddp_sweep.training.training_state import TrainingState

__all__ = ["CheckpointStore", "Checkpoints", "FoundCheckpoint"]

_MOST_PROBLEMS = 2


@dataclass(frozen=True, kw_only=True)
class FoundCheckpoint:
    """What an earlier attempt left, as one rank needs it."""

    attempt: int
    step: int
    """Optimizer steps done when it was taken."""
    first_part: Any
    """Buffer of the part of rank 0, which also holds what is the same on all ranks."""
    own_part: Any
    """Buffer of the part of this rank; the same buffer on rank 0."""


class CheckpointStore(Protocol):
    """Where one rank's parts of a trial's checkpoints go, and where the one to go on from lies."""

    @property
    def every_s(self) -> float:
        """Least time between two checkpoints."""
        ...

    def find(self) -> FoundCheckpoint | None:
        """The checkpoint to go on from; all ranks find the same."""
        ...

    def is_free(self) -> bool:
        """Whether all that was handed over before is dealt with."""
        ...

    def keep(self, step: int, part: memoryview) -> None:
        """Hand over this rank's part; returns before it is written."""
        ...

    def give_up(self, step: int, problem: str) -> None:
        """Say why there is no part of this rank, so that nobody waits for it."""
        ...

    def problems(self) -> list[str]:
        """Why checkpoints were not used or not written, as far as is known by now."""
        ...


class Checkpoints:
    """Takes the checkpoints of a trial on one rank, and brings back the one it goes on from.

    Args:
        store: Where they go; None takes none.
        ranks: The ranks of the trial.
        now: Clock in seconds.
    """

    def __init__(
        self,
        store: CheckpointStore | None,
        ranks: Ranks,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._store = store
        self._ranks = ranks
        self._now = now
        self._last_s = now()
        self._origin: str | None = None
        self._began_anew = False
        self._problems: list[str] = []

    def begin(self) -> None:
        """The training begins now: count the time to the first checkpoint from here."""
        self._last_s = self._now()

    def wanted(self) -> bool:
        """Whether it is time for another one, and the one before is out of the way."""
        if self._store is None or self._now() - self._last_s < self._store.every_s:
            return False
        return self._store.is_free()

    def take(self, training: TrainingState) -> None:
        """Hand the state over as it is; all ranks call it at the same step.

        A state that cannot be kept is no reason to lose the trial.
        """
        assert self._store is not None
        step = training.context.steps
        training.peak.note()
        try:
            self._store.keep(step, self._part(training))
        except Exception as error:  # noqa: BLE001 - the trial goes on, whatever it is
            problem = f"the checkpoint at step {step} was not kept: {_line(error)}"
            self._problems.append(problem)
            self._store.give_up(step, problem)
        # The copies are ours, not the trial's.
        training.peak.resume()
        self._last_s = self._now()

    def _part(self, training: TrainingState) -> memoryview:
        state: State = {"made_by": self._surroundings(), "own": training.own_state()}
        if self._ranks.rank == 0:
            state["common"] = training.common_state()
        return content_of(state)

    def restore(self, training: TrainingState) -> bool:
        """Go on from an earlier attempt where there is a checkpoint that all ranks can use.

        Returns:
            False where a rank could not put its part back: the training is neither that of the
            checkpoint nor one that has not begun, and no rank may go on with it.
        """
        if self._store is None:
            return True
        found = self._store.find()
        if found is None:
            self._began_anew = bool(self._store.problems())
            return True
        read, problem = self._read(found)
        if not self._usable(found.step, problem, "another worker could not read its part"):
            return True
        problem = _put_back(training, read)
        if not self._usable(found.step, problem, "another worker could not put back its part"):
            return False
        # The words and not the checkpoint, which would hold on to its memory.
        self._origin = f"step {found.step} of attempt {found.attempt}"
        return True

    def _usable(self, step: int, problem: str | None, problem_of_another: str) -> bool:
        """Whether no rank has a problem with a checkpoint; all ranks learn the same."""
        if self._ranks.smallest(float(problem is None)) == 1.0:
            return True
        cause = problem or problem_of_another
        self._problems.append(f"the checkpoint at step {step} was not used: {cause}")
        self._began_anew = True
        return False

    def _read(self, found: FoundCheckpoint) -> tuple[tuple[State, State], str | None]:
        """The two parts of the state, and why they cannot be used."""
        try:
            first = state_in(found.first_part)
            own = first if self._ranks.rank == 0 else state_in(found.own_part)
            parts = first["common"], own["own"]
        except Exception as error:  # noqa: BLE001 - damaged files raise anything
            return ({}, {}), f"it cannot be read ({_line(error)})"
        before, here = own["made_by"], self._surroundings()
        changed = [f"{name} {before.get(name)} then, {here[name]} now" for name in here]
        return parts, None if before == here else f"made on another system ({', '.join(changed)})"

    def _surroundings(self) -> dict[str, str]:
        """What the numbers of a training depend on beside its settings and its code."""
        return {"PyTorch": str(torch.__version__), "device": self._ranks.device.type}

    def remark(self) -> str | None:
        """What there is to say of checkpoints in the row of the trial; None for nothing."""
        return "; ".join(self._said()) or None

    def _said(self) -> Iterator[str]:
        if self._origin is not None:
            yield f"went on from {self._origin}"
        if self._began_anew:
            yield "began from the first step"
        problems = [*self._problems, *([] if self._store is None else self._store.problems())]
        yield from problems[:_MOST_PROBLEMS]
        if len(problems) > _MOST_PROBLEMS:  # a disk that is full stays so
            yield f"and {len(problems) - _MOST_PROBLEMS} more like these"


def _put_back(training: TrainingState, parts: tuple[State, State]) -> str | None:
    """Put the two parts of a state back; why that failed, where it did."""
    try:
        training.restore(*parts)
    except Exception as error:  # noqa: BLE001 - optimizers and schedulers raise anything
        return f"it cannot be put back ({_line(error)})"
    return None


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
