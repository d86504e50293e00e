"""How long the rest of a sweep will take, from what has run so far.

Each configuration takes what it took before (the median, so that one slow run does not count for
all). One that has not run yet is scaled from the others by its work, workers and steps. Between
two trials lies what lay there before: little as a rule, more after a failure and between blocks,
where workers are started anew.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from operator import attrgetter

from ddp_sweep.live.trials import PastAttempt, PlannedTrial, Progress
from ddp_sweep.schema import Status

__all__ = ["Pace"]

_ENOUGH_TO_SCALE = 0.1
"""Share of a trial after which its own speed says how long it takes."""
_KEEPS_ITS_WORKERS = (Status.SUCCEEDED, Status.DIVERGED)
"""Ends after which the same workers go on."""
_FEWEST_FOR_DRIFT = 3
"""Trials that have to agree."""
_PRIOR_WEIGHT = 0.3
"""How firmly the parts of a trial's time are taken to be equal while little is known."""


class Pace:
    """What trials and the pauses between them take.

    Args:
        past: Attempts that have ended, of this session and of earlier ones.
        trials: All of the sweep; for the sizes of each configuration.
    """

    def __init__(self, past: Sequence[PastAttempt], trials: Iterable[PlannedTrial]) -> None:
        self._sample = {trial.configuration_id: trial for trial in trials}
        self._past = [one for one in past if one.wall_time_s is not None and not one.to_rerun]
        self._typical = self._known_times()
        self._drift = self._recent_drift()
        self._failing = _failing_share(self._past)
        excess = {one.trial_id: self._excess_s(one) for one in past}
        self._pauses = _pauses(past, excess)
        starts = [one.startup_s + excess[one.trial_id] for one in past if one.startup_s]
        self._start_s = statistics.mean(starts) if starts else 0.0
        self._fitted: Mapping[str, float] | None = None

    @property
    def known(self) -> bool:
        """Whether enough has run; the first trial of all takes longer than it will again."""
        return any(one.startup_s is None for one in self._past) or len(self._past) > 1

    def duration_s(self, trial: PlannedTrial) -> float:
        """Time one trial is expected to take; only where something is known."""
        known = self._typical.get(trial.configuration_id)
        if known is None:
            if self._fitted is None:
                self._fitted = self._scaled(self._typical)
            known = self._fitted[trial.configuration_id]
        return known * self._drift

    def rest_s(
        self,
        pending: Sequence[PlannedTrial],
        after: PlannedTrial | None,
        side_by_side: Mapping[int, int] | None = None,
    ) -> float:
        """Time for trials that have not begun.

        Args:
            pending: In their order.
            after: What runs before them; None where workers have to be started first.
            side_by_side: How many trials of a world size run at once; those of each world size
                need workers of their own. Empty: one trial after another.
        """
        if not pending:
            return 0.0
        if side_by_side:
            return self._packed_s(pending, after, side_by_side)
        first_s = self._start_s if after is None else self.pause_s(after, pending[0])
        pauses_s = sum(self.pause_s(*pair) for pair in pairwise(pending))
        return first_s + pauses_s + sum(map(self.duration_s, pending))

    def _packed_s(
        self,
        pending: Sequence[PlannedTrial],
        after: PlannedTrial | None,
        side_by_side: Mapping[int, int],
    ) -> float:
        total_s = 0.0
        for world_size, group in groupby(pending, key=attrgetter("world_size")):
            durations_s = [self.duration_s(trial) for trial in group]
            width = side_by_side.get(world_size, 1)
            if after is None or after.world_size != world_size:
                total_s += self._start_s
                # Full rounds only: even the last trial takes its whole time.
                width = min(width, len(durations_s))
            total_s += max(sum(durations_s) / width, max(durations_s))
        return total_s

    def remaining_s(
        self,
        trial: PlannedTrial,
        progress: Progress | None,
        *,
        after: PlannedTrial | None,
        dispatched_s: float,
        now_s: float,
    ) -> float | None:
        """Time for the rest of the trial that runs; None where nothing is known yet.

        Args:
            trial: The one that runs.
            progress: What its workers last said.
            after: What ran before it; None where workers have to be started first.
            dispatched_s: When it was handed out.
            now_s: The time now.
        """
        whole_s = self._whole_s(trial, progress)
        if whole_s is None:
            return None
        began_s = None if progress is None else progress.began_s
        if began_s is None:
            start_s = self._start_s if after is None else self.pause_s(after, trial)
            return whole_s + max(0.0, start_s - (now_s - dispatched_s))
        fraction = None if progress is None else progress.fraction
        if fraction is None:
            return max(whole_s - (now_s - began_s), 0.0)
        return (1.0 - min(fraction, 1.0)) * whole_s

    def pause_s(self, after: PlannedTrial, before: PlannedTrial) -> float:
        """Time between the end of one trial and the begin of the next."""
        between_blocks = after.block != before.block
        quiet_s = self._pause_s(False, between_blocks)
        failing = self._failing.get(after.configuration_id, 0.0)
        if not failing:
            return quiet_s
        return (1 - failing) * quiet_s + failing * self._pause_s(True, between_blocks)

    def _pause_s(self, failed: bool, between_blocks: bool) -> float:
        # The same case, else the same kind of end; a failure that never happened means a start.
        for alike in ((failed, between_blocks), (failed, not between_blocks)):
            if alike in self._pauses:
                return self._pauses[alike]
        return self._start_s if failed else 0.0

    def _whole_s(self, trial: PlannedTrial, progress: Progress | None) -> float | None:
        if trial.configuration_id not in self._typical and progress is not None:
            fraction = progress.fraction
            if fraction and progress.began_s and fraction >= _ENOUGH_TO_SCALE:
                return (progress.at_s - progress.began_s) / fraction
        return self.duration_s(trial) if self.known else None

    def _excess_s(self, attempt: PastAttempt) -> float:
        """What the first trial of new workers took longer than others of its configuration."""
        if attempt.startup_s is None or attempt.wall_time_s is None:
            return 0.0
        typical = self._typical.get(attempt.configuration_id, attempt.wall_time_s)
        return max(0.0, attempt.wall_time_s - typical)

    def _known_times(self) -> dict[str, float]:
        """Median time of each configuration that has run.

        The first trial of new workers takes longer. Where a configuration has run as such only,
        others may tell that it would have been faster.
        """
        warm = _medians(one for one in self._past if one.startup_s is None)
        cold = _medians(one for one in self._past if one.configuration_id not in warm)
        if warm and cold:
            fitted = self._scaled(warm)
            cold = {name: min(time_s, fitted.get(name, time_s)) for name, time_s in cold.items()}
        return cold | warm

    def _recent_drift(self) -> float:
        """How much slower than usual the last trials were: the machine may have changed.

        Over as many as two blocks have, so that a moment's load is not taken for the future.
        """
        warm = [one for one in self._past if one.startup_s is None and one.wall_time_s]
        window = max(_FEWEST_FOR_DRIFT, 2 * len(self._typical))
        last = warm[-window:]
        if len(last) < window:
            return 1.0
        ratios = [(one.wall_time_s or 0.0) / self._typical[one.configuration_id] for one in last]
        return statistics.median(ratios)

    def _scaled(self, known: Mapping[str, float]) -> dict[str, float]:
        """Times of configurations by a fit to those that have run.

        Non-negative least squares on a part that is the same for all, one that grows with the
        work of each worker and one with the number of steps, in relative deviations; a weak
        prior of equal parts keeps it sensible where few have run.
        """
        import numpy as np
        from scipy.optimize import nnls

        ran = [one for one in known if one in self._sample]
        if not ran:
            mean_s = statistics.mean(known.values())
            return dict.fromkeys(self._sample, mean_s)
        parts = {one: np.array(_parts(trial)) for one, trial in self._sample.items()}
        scale = np.mean([parts[one] / max(known[one], 1e-9) for one in ran], axis=0)
        rows = [parts[one] / scale / max(known[one], 1e-9) for one in ran]
        prior = _PRIOR_WEIGHT * np.eye(3)
        solution, _ = nnls(
            np.vstack([*rows, prior]), np.concatenate([np.ones(len(rows)), prior.sum(0) / 3])
        )
        return {one: float(part / scale @ solution) for one, part in parts.items()}


def _parts(trial: PlannedTrial) -> tuple[float, float, float]:
    return 1.0, trial.work / trial.world_size, trial.work / trial.global_batch_size


def _medians(past: Iterable[PastAttempt]) -> dict[str, float]:
    times_s = defaultdict(list)
    for one in past:
        times_s[one.configuration_id].append(one.wall_time_s or 0.0)
    return {name: statistics.median(times) for name, times in times_s.items()}


def _failing_share(past: Iterable[PastAttempt]) -> dict[str, float]:
    """Share of the attempts at each configuration after which workers were started anew."""
    ends = defaultdict(list)
    for one in past:
        ends[one.configuration_id].append(one.status not in _KEEPS_ITS_WORKERS)
    return {name: sum(failed) / len(failed) for name, failed in ends.items()}


def _pauses(
    past: Iterable[PastAttempt], excess_s: Mapping[str, float]
) -> dict[tuple[bool, bool], float]:
    """Mean pause by whether the trial before it failed, and whether a block ended with it."""
    found = defaultdict(list)
    begun = [one for one in past if one.started_s is not None and one.wall_time_s is not None]
    for one, following in pairwise(sorted(begun, key=lambda each: each.started_s or 0.0)):
        if one.session_id != following.session_id or following.started_s is None:
            continue
        pause_s = following.started_s - (one.started_s or 0.0) - (one.wall_time_s or 0.0)
        case = one.status not in _KEEPS_ITS_WORKERS, one.block != following.block
        found[case].append(max(0.0, pause_s) + excess_s[following.trial_id])
    return {case: statistics.mean(pauses) for case, pauses in found.items()}
