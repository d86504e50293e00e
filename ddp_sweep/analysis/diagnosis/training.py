"""Did the training go well: losses that do not fall, or fall on the training set alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ddp_sweep.analysis.diagnosis.subject import Found, Subject
from ddp_sweep.analysis.outcome import Finding, Severity
from ddp_sweep.analysis.statistics.estimation import Floats
from ddp_sweep.analysis.wording import count
from ddp_sweep.schema import Status

__all__ = ["LossCourse", "overfitting", "unstable_training"]

_PARTS = 20
_LEAST_STEPS = 40
"""Fewer losses than that say little about the course of any."""
_LEAST_IN_PART = 5
_NOISE = 4.0
_LEAP = 1.2
_LEAST_FALL = 0.02
_LOST_AGAIN = 0.5
_EARLY = 0.7
_LEAST_LATER = 2
_NOTABLE_RISE = 1.05
_LARGE_RISE = 1.25
_QUALITY = ("accuracy", "recall", "perplexity", "rmse", "mae")


@dataclass(frozen=True)
class LossCourse:
    """How the training loss of one run went, from equal parts of the run."""

    parts: Floats
    """Mean loss of each part."""
    noise: Floats
    """Standard error of each mean, from the steps in it."""
    first: float
    """Loss of the first step, before anything was learned."""

    @classmethod
    def of(cls, losses: Floats) -> LossCourse:
        """From the losses of all steps, ``_LEAST_STEPS`` or more."""
        parts = np.array_split(losses, min(_PARTS, len(losses) // _LEAST_IN_PART))
        return cls(
            np.array([part.mean() for part in parts]),
            np.array([part.std(ddof=1) / np.sqrt(len(part)) for part in parts]),
            float(losses[0]),
        )

    @property
    def fell(self) -> bool:
        """Whether the last part is below the start."""
        # One step is a noisy start; where the loss leaps up at once, it is the only one.
        leapt = self.parts[0] > _LEAP * self.first
        start = self.first if leapt else float(self.parts[0])
        return bool(self.parts[-1] < (1 - _LEAST_FALL) * start)

    @property
    def lost_again(self) -> float:
        """The largest rise, as a share of how far the loss had fallen by then; 0 for none.

        A fall or a rise that the noise of single steps may have made is none.
        """
        at = np.array([self.parts[: end + 1].argmin() for end in range(len(self.parts))])
        fall, rise = self.parts[0] - self.parts[at], self.parts - self.parts[at]
        doubt = _NOISE * np.hypot(self.noise, self.noise[at])
        clear = (fall > np.maximum(doubt, _LEAST_FALL * abs(self.parts[0]))) & (rise > doubt)
        return float(np.max(np.divide(rise, fall, out=np.zeros_like(rise), where=clear)))

    @property
    def trouble(self) -> str | None:
        """What is wrong, in words; None where nothing is."""
        if self.lost_again > _LOST_AGAIN:
            return f"rises again by {100 * self.lost_again:.0f} % of what it had fallen"
        return None if self.fell else "does not fall"


def unstable_training(subject: Subject) -> Found:
    """Losses that become no number, do not fall or jump up, against one worker's of that seed."""
    courses = _courses(subject)
    alone = _fewest_workers(subject, courses)
    diverged = subject.text("status") == Status.DIVERGED
    runs = subject.measured.runs
    seeds = subject.text("seed")
    marked: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for row in range(len(runs)):
        course = courses.get(row)
        trouble = "became no finite number" if diverged[row] else course and course.trouble
        if trouble:
            marked[int(subject.measured.configuration[row])].append((seeds[row], trouble))
    for position, troubles in marked.items():
        yield position, _unstable(subject, position, troubles, alone)


def _unstable(
    subject: Subject,
    position: int,
    troubles: list[tuple[str, str]],
    alone: Mapping[str, str | None],
) -> Finding:
    total = int((subject.measured.configuration == position).sum())
    seed, trouble = troubles[0]
    message = f"The training loss {trouble} in {len(troubles)} of {count(total, 'run')}"
    fewest = subject.world_size.min()
    compared = [alone[seed] for seed, _ in troubles if seed in alone]
    if subject.world_size[position] > fewest and compared:
        who = count(int(fewest), "worker")
        if all(found is None for found in compared):
            message += (
                f"; with {who} and the same seed it falls steadily. A smaller learning rate or "
                "a longer warm-up (training.warmup_fraction) may mend that."
            )
        else:
            message += f"; with {who} and the same seed it is no better. Lower the learning rate."
    else:
        message += ". Lower training.learning_rate, or set max_gradient_norm."
    return Finding(
        kind="unstable_training",
        severity=Severity.WARNING,
        message=message,
        evidence={
            "runs": len(troubles),
            "of_runs": total,
            "trouble": trouble,
            "seed": seed,
            "stable_with_fewest_workers": sum(found is None for found in compared),
        },
    )


def _fewest_workers(subject: Subject, courses: Mapping[int, LossCourse]) -> dict[str, str | None]:
    """By seed: what is wrong with the run of the quality reference, None for nothing."""
    reference = subject.standing.reference
    rows = np.flatnonzero(subject.measured.configuration == reference)
    seeds, status = subject.text("seed"), subject.text("status")
    found: dict[str, str | None] = {}
    for row in rows:
        if status[row] == Status.DIVERGED:
            found[seeds[row]] = "became no finite number"
        elif int(row) in courses:
            found[seeds[row]] = courses[int(row)].trouble
    return found


def _courses(subject: Subject) -> dict[int, LossCourse]:
    """By number of the run; from its steps, where they were recorded."""
    runs = subject.measured.runs
    if not subject.measured.ours:
        return {}
    keys = runs[["trial_id", "attempt"]].assign(run=np.arange(len(runs)))[
        subject.measured.finished
    ]
    steps = subject.steps
    if steps is None or not len(steps):
        return {}
    own = steps.loc[steps["rank"] == 0, ["trial_id", "attempt", "optimizer_step", "train_loss"]]
    own = own.dropna(subset=["train_loss"]).merge(keys, on=["trial_id", "attempt"])
    return {
        int(str(run)): LossCourse.of(losses.to_numpy(dtype=np.float64))
        for run, losses in own.sort_values(["run", "optimizer_step"]).groupby("run")["train_loss"]
        if len(losses) >= _LEAST_STEPS
    }


def overfitting(subject: Subject) -> Found:
    """Validation loss that rises long before the end while the training loss goes on falling."""
    if subject.evals is None or not subject.measured.ours:
        return
    keys = subject.finished_keys()
    evals = subject.evals.merge(keys[["trial_id", "attempt", "configuration"]])
    evals = evals.sort_values(["trial_id", "optimizer_step"])
    for position, own in evals.groupby("configuration"):
        runs = [run for _, run in own.groupby("trial_id") if run["val_loss"].notna().any()]
        parted = [found for run in runs if (found := _parted(run)) is not None]
        if parted and 2 * len(parted) >= len(runs):
            yield int(str(position)), _overfitting(pd.DataFrame(parted), len(runs))


def _parted(run: pd.DataFrame) -> dict[str, float] | None:
    """Best and last evaluation of a run whose losses part; None where they do not."""
    losses = run["val_loss"].to_numpy(dtype=np.float64)
    at = int(np.nanargmin(losses))
    best, last = run.iloc[at], run.iloc[-1]
    early = best["epoch"] <= _EARLY * last["epoch"]
    later = losses[at + 1 :]
    # One bad evaluation is chance; overfitting does not come back.
    parted = len(later) >= _LEAST_LATER and bool((later > losses[at]).all())
    parted = parted and last["val_loss"] > _NOTABLE_RISE * best["val_loss"]
    if not (early and parted and last["train_loss"] < best["train_loss"]):
        return None
    found = {"best_epoch": float(best["epoch"]), "last_epoch": float(last["epoch"])}
    for name in ("val_loss", *_QUALITY):
        if not pd.isna(best[name]) and not pd.isna(last[name]):
            found |= {f"{name}_best": float(best[name]), f"{name}_last": float(last[name])}
    return found


def _overfitting(parted: pd.DataFrame, runs: int) -> Finding:
    typical = parted.median()
    evidence = {"runs": len(parted), "of_runs": runs} | {
        str(name): float(value) for name, value in typical.dropna().items()
    }
    rise = typical["val_loss_last"] / typical["val_loss_best"]
    gained = [
        f"{name} {typical[f'{name}_best']:.3f} instead of {typical[f'{name}_last']:.3f}"
        for name in ("val_loss", *_QUALITY)
        if f"{name}_best" in typical
    ]
    return Finding(
        kind="overfitting",
        severity=Severity.WARNING if rise > _LARGE_RISE else Severity.INFO,
        message=(
            f"After epoch {typical['best_epoch']:.3g} of {typical['last_epoch']:.3g} the "
            "validation loss rises while the training loss goes on falling. Stopping there would "
            f"have given {gained[0].replace('val_loss', 'a validation loss of')}"
            + (f", {gained[1]}" if len(gained) > 1 else "")
            + "."
        ),
        evidence=evidence,
    )
