"""The clock of a trial: it runs in training steps and stands still in everything else.

Step times come from the processor's clock on a CPU and from device events on a GPU, where the
device is waited for at the edges of a stretch of steps and not at every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.states import State, floats

__all__ = ["StepClock", "SynchronizationClock"]


class StepClock:
    """Times the training steps of one rank.

    ``start`` and ``stop`` bound a stretch of steps; every step ends with ``step_done``. The time
    of a stretch is that of the slowest rank.

    Args:
        ranks: The ranks of the trial.
        now: Clock in seconds; another one in tests.
    """

    def __init__(self, ranks: Ranks, now: Callable[[], float] = time.perf_counter) -> None:
        self.train_time_s = 0.0
        """Time of all stretches so far, of the slowest rank in each."""
        self.data_wait_s: list[float] = []
        """Time that each step of the finished stretches waited for its samples; on a GPU that for
        which the device had nothing else to do."""
        self._ranks = ranks
        self._now = now
        self._on_device = ranks.device.type == "cuda"
        self._started: float | None = None
        self._marks: list[Any] = []
        self._step_times: list[float] = []
        self._waits: list[tuple[Any, Any]] = []
        self._waits_of_steps: list[list[tuple[Any, Any]]] = []

    @property
    def is_running(self) -> bool:
        """Whether a stretch has begun."""
        return self._started is not None

    def start(self) -> None:
        """Begin a stretch; waits until every rank is here."""
        self._ranks.barrier()
        self._marks = [self._mark()]
        self._started = self._now()

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Time the wait for a batch of the step that goes on.

        On a GPU between two events: where the device still has work when they are given to it,
        it comes to both at once, and the processor's wait has delayed nothing.
        """
        began = self._mark()
        yield
        self._waits.append((began, self._mark()))

    def step_done(self) -> None:
        """Mark the end of a step."""
        self._marks.append(self._mark())
        self._waits_of_steps.append(self._waits)
        self._waits = []

    def elapsed_s(self) -> float:
        """Time since the stretch began on this rank, without waiting for the device."""
        assert self._started is not None
        return self._now() - self._started

    def stop(self) -> None:
        """End a stretch, if one has begun; all ranks call it together."""
        if self._started is None:
            return
        self._ranks.synchronize()
        self.train_time_s += self._ranks.largest(self.elapsed_s())
        self._started = None
        self._flush()

    def step_times_s(self) -> NDArray[np.float64]:
        """Time of every step of the finished stretches on this rank, shape [steps]."""
        return np.array(self._step_times)

    def state_dict(self) -> State:
        """What was measured so far; to be asked for while the clock stands still."""
        assert self._started is None
        return {
            "train_time_s": self.train_time_s,
            "data_wait_s": floats(self.data_wait_s),
            "step_times_s": floats(self._step_times),
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from what another clock has measured."""
        self.train_time_s = state["train_time_s"]
        self.data_wait_s = state["data_wait_s"].tolist()
        self._step_times = state["step_times_s"].tolist()

    def _mark(self) -> Any:  # noqa: ANN401 - seconds or a CUDA event
        if not self._on_device:
            return self._now()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _flush(self) -> None:
        pairs = zip(self._marks, self._marks[1:], strict=False)
        self._step_times += [self._between(*pair) for pair in pairs]
        self.data_wait_s += [
            sum((self._between(*pair) for pair in waits), 0.0) for waits in self._waits_of_steps
        ]
        self._marks, self._waits_of_steps = [], []

    def _between(self, before: Any, after: Any) -> float:  # noqa: ANN401 - seconds or events
        return float(before.elapsed_time(after) / 1000 if self._on_device else after - before)


class SynchronizationClock:
    """Times how long a rank waits in every step, with its own gradients done, for all others'.

    That is communication which nothing hid, and the lead over slower ranks: on the slowest rank
    it is communication alone. Autograd calls back when a rank's own part of a backward pass is
    done; that call is queued at the start of the pass, and so comes before the one in which DDP
    waits. At one rank there is nothing to wait for.

    Args:
        ranks: The ranks of the trial.
        now: Clock in seconds; another one in tests.
    """

    def __init__(self, ranks: Ranks, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._alone = ranks.group is None
        self._on_device = ranks.device.type == "cuda"
        self._own_done: Any = None
        self._earlier_s: list[float] = []
        self._pairs: list[tuple[Any, Any]] = []

    def watch(self, loss: Tensor) -> None:
        """Watch the next backward pass, which starts from this loss and synchronizes."""
        self._own_done = None
        if not self._alone:
            loss.register_hook(self._begun)  # type: ignore[no-untyped-call]

    def backward_done(self) -> None:
        """Note that the pass has returned, with the gradients of all ranks."""
        self._pairs.append((self._own_done, None if self._alone else self._mark()))

    def waits_s(self) -> NDArray[np.float64]:
        """Time waited in each step, shape [steps]; call it when the device has done all."""
        waits = [self._wait_s(*pair) for pair in self._pairs]
        return np.array(self._earlier_s + waits, dtype=np.float64)

    def state_dict(self) -> State:
        """What was measured so far; as :meth:`waits_s`."""
        return {"waits_s": torch.from_numpy(self.waits_s())}

    def load_state_dict(self, state: State) -> None:
        """Go on from what another clock has measured."""
        self._earlier_s = state["waits_s"].tolist()
        self._pairs = []

    def _wait_s(self, own: Any, all_done: Any) -> float:  # noqa: ANN401 - seconds or events
        if self._alone:
            return 0.0
        if own is None:
            return float("nan")
        return float(own.elapsed_time(all_done) / 1000 if self._on_device else all_done - own)

    def _begun(self, _gradient: Tensor) -> None:
        engine: Any = torch.autograd.Variable._execution_engine
        engine.queue_callback(self._note_own)

    def _note_own(self) -> None:
        self._own_done = self._mark()

    def _mark(self) -> Any:  # noqa: ANN401 - seconds or a CUDA event
        if not self._on_device:
            return self._now()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event
