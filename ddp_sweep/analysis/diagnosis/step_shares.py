"""Where the time of a step goes, in parts that add up to the step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ddp_sweep.analysis.diagnosis.subject import Subject

__all__ = ["StepParts", "step_parts"]


@dataclass(frozen=True, kw_only=True)
class StepParts:
    """Mean times of a step over the workers, from clocks that each worker read as it trained."""

    computation_s: float
    """Forward, backward and optimizer, and whatever else the quickest worker does by itself."""
    communication_s: float
    """Waiting for gradients where no worker is behind: what computation did not hide."""
    data_wait_s: float
    """Waiting for samples."""
    stragglers_s: float
    """What slower workers take beyond the quickest, and waiting for them."""
    step_time_s: float
    """Training time / steps, which no part above was made from."""
    samples_per_worker: float
    """Samples of a worker in a step."""
    synchronization_s: float
    """What exchanging gradients adds to a step as timed before the training, with and without
    it: the waiting that ``communication_s`` counts, and what the exchange takes from computation
    beside it (copies, and threads on the same cores). NaN where it was not timed."""

    @property
    def explained_s(self) -> float:
        """Sum of the parts."""
        waits_s = self.data_wait_s + self.stragglers_s
        return self.computation_s + self.communication_s + waits_s


def step_parts(subject: Subject, position: int) -> StepParts | None:
    """The parts of a configuration's steps; None where they were not recorded."""
    steps, runs = subject.steps, subject.measured.runs
    if steps is None or not len(steps) or not subject.measured.ours:
        return None
    own = (subject.measured.configuration == position) & subject.measured.finished
    keys = runs.loc[own, ["trial_id", "attempt"]]
    columns = ["trial_id", "attempt", "optimizer_step", "rank"]
    columns += ["step_time_s", "data_wait_s", "communication_s"]
    wanted = steps["trial_id"].isin(keys["trial_id"])
    rows = steps.loc[wanted, columns].merge(keys, on=["trial_id", "attempt"])
    rows = rows.dropna(subset=["communication_s", "step_time_s"])
    waited = rows["data_wait_s"] + rows["communication_s"]
    rows = rows.assign(own_s=rows["step_time_s"] - waited)
    if rows.empty:
        return None
    return _parts(rows, subject, own)


def _parts(rows: pd.DataFrame, subject: Subject, own: np.typing.NDArray[np.bool_]) -> StepParts:
    grouped = rows.groupby(["trial_id", "attempt", "optimizer_step"], sort=False)
    means = grouped[["step_time_s", "data_wait_s", "communication_s"]].mean()
    # On the worker that comes last the wait is communication alone.
    least = grouped[["communication_s", "own_s"]].min().mean()
    step, data = means["step_time_s"].mean(), means["data_wait_s"].mean()
    communication, computation = least["communication_s"], least["own_s"]
    total_steps = subject.column("optimizer_steps")[own]
    workers = float(rows["rank"].max() + 1)
    step_time_s = float(np.nansum(subject.column("train_time_s")[own]) / np.nansum(total_steps))
    probed = subject.column("communication_fraction")[own]
    known = probed[~np.isnan(probed)]
    return StepParts(
        computation_s=float(computation),
        communication_s=float(communication),
        data_wait_s=float(data),
        stragglers_s=float(step - data - communication - computation),
        step_time_s=step_time_s,
        samples_per_worker=float(
            np.nansum(subject.column("samples")[own]) / np.nansum(total_steps) / workers
        ),
        synchronization_s=float(known.mean() * step_time_s) if len(known) else float("nan"),
    )
