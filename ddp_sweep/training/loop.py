"""The training loop: optimizer steps until the budget is spent, with evaluations in between."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn
from torch.nn.utils import clip_grad_norm_

from ddp_sweep.training.batches import BatchPlan, Draw
from ddp_sweep.training.gradients import GradientStep
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.timing import StepClock
from ddp_sweep.training.training_state import TrainingState

__all__ = ["train"]


class _TimedBatches:
    """Batches on the device; the clock learns how long each was waited for on the host.

    Copying to the device is work of the device and no waiting. The first batch is fetched at once:
    loading processes that still start are not part of a step.
    """

    def __init__(self, source: BatchSource, draws: Iterator[Draw], clock: StepClock) -> None:
        batches = source.stream(draws)
        self._batches = itertools.chain([next(batches)], batches)
        self._source, self._clock = source, clock

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:  # noqa: ANN401 - a batch is what the user makes it
        with self._clock.waiting_for_data():
            batch = next(self._batches)
        return self._source.move(batch)


def train(
    training: TrainingState,
    plan: BatchPlan,
    source: BatchSource,
    gradient_step: GradientStep,
    *,
    parameters: list[nn.Parameter],
    max_gradient_norm: float | None,
    before_last_evaluation: Callable[[], None],
    save: Callable[[], None],
) -> None:
    """Train from where the state is until the budget is spent.

    Args:
        training: Is changed with every step.
        plan: The samples of every step.
        source: The training set.
        gradient_step: Leaves the gradient of a step in the parameters.
        parameters: All that have a gradient.
        max_gradient_norm: Longer gradients are cut to it.
        before_last_evaluation: Looks at the model before evaluation gives all ranks the buffers of
            rank 0; called on all ranks while the clock stands still.
        save: Keeps the state as it is between two steps; called on all ranks at the same step.

    Raises:
        Stopped: The trial ended before; on every rank at the same step.
    """
    context, optimizer, rate = training.context, training.optimizer, training.rate
    steps, ahead = itertools.tee(plan.steps(context.steps))
    draws_ahead = itertools.chain.from_iterable(step.draws() for step in ahead)
    batches = _TimedBatches(source, draws_ahead, context.clock)
    context.start_clock()
    for step in steps:
        rate.before_step(context.steps)
        optimizer.zero_grad()
        loss = gradient_step.run(step, batches, clock=training.synchronization)
        if max_gradient_norm is not None:
            clip_grad_norm_(parameters, max_gradient_norm)
        optimizer.step()
        training.draws.add(step)
        learning_rate = rate.value
        rate.after_step()
        context.step_done(loss, samples=step.global_samples, learning_rate=learning_rate)
        if context.evaluation_due:
            if context.samples >= plan.budget:
                context.clock.stop()
                before_last_evaluation()
            context.evaluate(context.samples / plan.num_samples)
            training.draws.close(step.epoch)
        if context.checkpoint_due:
            with context.checkpoint():
                training.draws.close(step.epoch)
                save()
        if context.samples < plan.budget:
            context.start_clock()
