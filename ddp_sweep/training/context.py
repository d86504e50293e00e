"""What a training loop talks to: a clock, evaluations, a ledger of losses and a way out.

All ranks leave together. Whether to stop, or to pause for a checkpoint, is decided from sums over
all ranks at the edges of windows of steps, so every rank decides the same at the same step; a rank
that left alone would leave the others waiting for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from ddp_sweep.schema import Status
from ddp_sweep.spec import METRICS
from ddp_sweep.training.evaluation import Evaluator
from ddp_sweep.training.gradients import LocalLoss
from ddp_sweep.training.messages import Evaluation
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.recording import LossLedger, StepRecorder
from ddp_sweep.training.states import State
from ddp_sweep.training.timing import StepClock

__all__ = ["Stopped", "TrialContext"]

_WINDOW_S = 0.5
_MAX_WINDOW_GROWTH = 4.0

_KEPT = (
    *("samples", "steps", "time_to_target_s", "samples_to_target", "eval_samples"),
    *("_next_edge", "_window", "_window_start_step", "_steps_at_evaluation", "_parts_evaluated"),
)
"""What a checkpoint holds of a context, beside its evaluations."""

Progress = dict[str, Any]


class Stopped(Exception):  # noqa: N818 - an end that is a result, not an error
    """The trial ends before its budget; raised on every rank at the same step."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class TrialContext:
    """One rank's side of a running trial.

    Args:
        ranks: The ranks of the trial.
        evaluator: Evaluates the model.
        recorder: Keeps the steps.
        budget: Samples to train on.
        evaluations: Evaluations over the budget.
        target: Metrics that stop the clock of the time to target.
        declared: Columns of the metrics that the workload declares; whether higher is better.
        timeout_s: Time after the first step began when the trial is given up; None for never.
        emit_progress: Gets a dictionary now and then; must not block.
        wants_checkpoint: Whether rank 0 would like to pause for one; asked at the edges of windows
            and on rank 0 only.
        now: Clock in seconds.
    """

    def __init__(
        self,
        ranks: Ranks,
        evaluator: Evaluator,
        recorder: StepRecorder,
        *,
        budget: int,
        evaluations: int,
        target: dict[str, float],
        declared: Mapping[str, bool] | None = None,
        timeout_s: float | None,
        emit_progress: Callable[[Progress], None],
        wants_checkpoint: Callable[[], bool] = lambda: False,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.clock = StepClock(ranks, now)
        self.losses = LossLedger(ranks)
        self.evaluations: list[Evaluation] = []
        self.recorder = recorder
        self.samples = 0
        """Samples trained on so far, of all ranks."""
        self.steps = 0
        """Optimizer steps done so far."""
        self.time_to_target_s: float | None = None
        self.samples_to_target: int | None = None
        self.eval_samples: int | None = None
        self.checkpoint_due = False
        """Whether the ranks are to pause for a checkpoint at this step, as all of them know."""
        self._ranks = ranks
        self._evaluator = evaluator
        self._budget = budget
        self._planned_evaluations = evaluations
        self._target = target
        self._declared = declared or {}
        self._timeout_s = timeout_s
        self._emit = emit_progress
        self._wants_checkpoint = wants_checkpoint
        self._now = now
        self._next_edge = 1
        self._window = 1
        self._window_start_s = 0.0
        self._window_start_step = 0
        self._steps_at_evaluation = 0
        self._parts_evaluated = 0
        self._began_s: float | None = None
        self._earlier_s = 0.0

    @property
    def evaluation_due(self) -> bool:
        """Whether the samples so far reach the next of the evenly spaced evaluations."""
        return self._parts_done > self._parts_evaluated

    @property
    def _parts_done(self) -> int:
        """Parts of the budget done, of as many as there are evaluations planned."""
        return min(self.samples, self._budget) * self._planned_evaluations // self._budget

    def start_clock(self) -> None:
        """Begin a stretch of training steps, unless one has begun; waits for all ranks."""
        if self.clock.is_running:
            return
        self.clock.start()
        if self._began_s is None:
            self._began_s = self._now()
        self._window_start_s = 0.0

    def step_done(self, loss: LocalLoss, *, samples: int, learning_rate: float) -> None:
        """Note a step; at the edge of a window, learn whether all is well.

        Args:
            loss: Of this rank's share.
            samples: Of the global batch.
            learning_rate: Of the step.

        Raises:
            Stopped: The loss is no number, or the deadline has passed.
        """
        self.steps += 1
        self.samples += samples
        self.losses.add(loss)
        self.recorder.step_done(self.samples, learning_rate)
        self.clock.step_done()
        if self.steps == self._next_edge or self.evaluation_due:
            self._edge()

    def _edge(self) -> None:
        settled = len(self.losses.totals)
        elapsed = self.clock.elapsed_s()
        late = self._timeout_s is not None and self._spent_s() > self._timeout_s
        wanted = self._ranks.rank == 0 and self._wants_checkpoint()
        flags = [float(late), elapsed - self._window_start_s, float(wanted)]
        sums = self.losses.settle(flags)
        self.recorder.read_memory()
        self._emit(
            {
                "samples": self.samples,
                "budget": self._budget,
                "optimizer_step": self.steps,
                "train_loss": self.losses.mean(settled),
                "train_time_s": self.clock.train_time_s + elapsed,
            }
        )
        for step, total in enumerate(self.losses.totals[settled:], start=settled + 1):
            if not math.isfinite(total):
                raise Stopped(Status.DIVERGED, f"training loss is {total} at step {step}")
        if sums[0] > 0:
            raise Stopped(Status.TIMED_OUT, "trial_timeout_s has passed")
        self.checkpoint_due = sums[2] > 0 and self.samples < self._budget
        self._set_next_edge(sums[1] / self._ranks.world_size)

    def _set_next_edge(self, window_s: float) -> None:
        """Aim at windows of half a second; every rank computes this from the same mean."""
        longest = self._window * _MAX_WINDOW_GROWTH
        # An evaluation may have ended the window before its time.
        done = self.steps - self._window_start_step
        aim = done * _WINDOW_S / window_s if window_s > 0 else longest
        self._window = max(1, int(min(longest, aim)))
        self._next_edge = self.steps + self._window
        self._window_start_step = self.steps
        self._window_start_s = self.clock.elapsed_s()

    def _spent_s(self) -> float:
        """Time since the first step began, in this attempt and those that it goes on from."""
        return self._earlier_s + (0.0 if self._began_s is None else self._now() - self._began_s)

    @contextmanager
    def checkpoint(self) -> Iterator[None]:
        """Pause the training for a checkpoint, which counts as no part of it."""
        self.clock.stop()
        self._emit({"stage": "saving a checkpoint"})
        yield
        self.checkpoint_due = False

    def evaluate(self, epoch: float) -> None:
        """Stop the clock, evaluate, and note whether the target is met.

        Raises:
            Stopped: The validation loss is no number.
        """
        self.clock.stop()
        began = self._now()
        quality, self.eval_samples = self._evaluator.run()
        seconds = self._ranks.largest(self._now() - began)
        quality["train_loss"] = self.losses.mean(self._steps_at_evaluation)
        self._steps_at_evaluation = self.steps
        self._parts_evaluated = self._parts_done
        evaluation = Evaluation(
            epoch=epoch,
            optimizer_step=self.steps,
            samples=self.samples,
            train_time_s=self.clock.train_time_s,
            eval_time_s=seconds,
            quality=quality,
        )
        self.evaluations.append(evaluation)
        if self.time_to_target_s is None and self._target and self._meets_target(quality):
            self.time_to_target_s = self.clock.train_time_s
            self.samples_to_target = self.samples
        loss = quality["val_loss"]
        if loss is not None and not math.isfinite(loss):
            raise Stopped(Status.DIVERGED, f"validation loss is {loss} at step {self.steps}")

    def _meets_target(self, quality: Mapping[str, Any]) -> bool:
        for name, wanted in self._target.items():
            value = quality.get(name)
            if value is None:
                return False
            # Asked this way round, a value that is no number does not meet anything.
            if not (value >= wanted if self._higher_is_better(name) else value <= wanted):
                return False
        return True

    def _higher_is_better(self, name: str) -> bool:
        known = METRICS.get(name)
        if known is None:
            return self._declared.get(name, True)
        return known.higher_is_better is not False

    @property
    def best_epoch(self) -> float | None:
        """Epoch of the evaluation with the lowest validation loss."""
        losses = [(e.quality["val_loss"], e.epoch) for e in self.evaluations]
        known = [pair for pair in losses if pair[0] is not None and math.isfinite(pair[0])]
        return min(known)[1] if known else None

    def state_dict(self) -> State:
        """Where the trial is and what it has found; the same on all ranks."""
        return {
            "spent_s": self._spent_s(),
            "evaluations": [asdict(evaluation) for evaluation in self.evaluations],
            **{name: getattr(self, name) for name in _KEPT},
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from where another context was."""
        self._earlier_s, self._began_s = state["spent_s"], None
        self.evaluations = [Evaluation(**evaluation) for evaluation in state["evaluations"]]
        for name in _KEPT:
            setattr(self, name, state[name])
