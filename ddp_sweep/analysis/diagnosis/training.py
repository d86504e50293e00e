"""Did the training go well: losses that do not fall, or fall on the training set alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ddp_sweep.analysis.diagnosis.factors import FACTORS
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
_SURE = 3.0
"""Standard errors beyond which a fall, or that there is none, is not chance."""
_LEAP = 1.2
_LEAST_FALL = 0.02
_LOST_AGAIN = 0.5
_EARLY = 0.7
_LEAST_LATER = 2
_NOTABLE_RISE = 1.05
_LARGE_RISE = 1.25
_DIVERGED = "became no finite number"
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
    early: float
    """Mean loss of the first few steps: the first part may be past what a fast learner learns."""
    step_noise: float
    """Standard deviation of the loss of a single step, from the last part."""

    @classmethod
    def of(cls, losses: Floats) -> LossCourse:
        """From the losses of all steps, ``_LEAST_STEPS`` or more."""
        parts = np.array_split(losses, min(_PARTS, len(losses) // _LEAST_IN_PART))
        return cls(
            np.array([part.mean() for part in parts]),
            np.array([part.std(ddof=1) / np.sqrt(len(part)) for part in parts]),
            float(losses[0]),
            float(losses[:_LEAST_IN_PART].mean()),
            float(parts[-1].std(ddof=1)),
        )

    @property
    def _leaps(self) -> bool:
        """Whether the first steps make the loss much larger, beyond the noise of one step."""
        least = max((_LEAP - 1) * abs(self.first), _SURE * self.step_noise)
        return float(self.parts[0]) - self.first > least

    @property
    def _start(self) -> tuple[float, float]:
        """Loss before learning, and its standard error."""
        # One step is a noisy start; where the loss leaps up at once, it is the only one.
        if self._leaps:
            return self.first, self.step_noise
        early_noise = self.step_noise / np.sqrt(_LEAST_IN_PART)
        if self.early > self.parts[0] + _SURE * early_noise:
            return self.early, early_noise
        return float(self.parts[0]), float(self.noise[0])

    @property
    def stands_still(self) -> bool:
        """Whether the last part is, beyond doubt, hardly below the start, or above it.

        A small fall that is clear of the noise is a fall, as in fine-tuning; and where the noise
        leaves room for one nothing is known, unless the loss leapt up at once.
        """
        start, noise = self._start
        fall = start - float(self.parts[-1])
        doubt = _SURE * float(np.hypot(noise, self.noise[-1]))
        return fall <= doubt and (self._leaps or fall + doubt < _LEAST_FALL * abs(start))

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
        return "does not fall" if self.stands_still else None


def unstable_training(subject: Subject) -> Found:
    """Losses that become no number, do not fall or jump up, beside those of fewer workers."""
    troubles = _troubles(subject)
    in_trouble = np.array([row for row, trouble in troubles.items() if trouble], dtype=np.int64)
    for position in np.unique(subject.measured.configuration[in_trouble]):
        yield int(position), _unstable(subject, int(position), troubles)


def _troubles(subject: Subject) -> dict[int, str | None]:
    """By number of the run: what is wrong with its losses, None for nothing."""
    found = {row: course.trouble for row, course in _courses(subject).items()}
    diverged = subject.text("status") == Status.DIVERGED
    return found | {int(row): _DIVERGED for row in np.flatnonzero(diverged)}


def _unstable(subject: Subject, position: int, troubles: Mapping[int, str | None]) -> Finding:
    seeds = subject.text("seed")
    own = np.flatnonzero(subject.measured.configuration == position)
    found = [(str(seeds[row]), trouble) for row in own if (trouble := troubles.get(int(row)))]
    seed, trouble = found[0]
    twin, compared = _beside(subject, position, [one for one, _ in found], troubles)
    # A loss that is no number is a fact; one that hardly moves in a few runs may be chance.
    certain = 2 * len(found) >= len(own) or any(other == _DIVERGED for _, other in found)
    return Finding(
        kind="unstable_training",
        severity=Severity.WARNING if certain else Severity.INFO,
        message=(
            f"The training loss {trouble} in {len(found)} of {count(len(own), 'run')}"
            + _advice(subject, position, twin, compared)
        ),
        evidence={
            "runs": len(found),
            "of_runs": len(own),
            "trouble": trouble,
            "seed": seed,
            "compared_with": None if twin is None else subject.standing.names[twin],
            "stable_with_fewest_workers": sum(other is None for other in compared),
        },
    )


def _beside(
    subject: Subject, position: int, seeds: list[str], troubles: Mapping[int, str | None]
) -> tuple[int | None, list[str | None]]:
    """The twin, and what is wrong with its runs of some seeds; none where nothing is known."""
    twin = _twin(subject, position)
    if twin is None:
        return None, []
    rows = np.flatnonzero(subject.measured.configuration == twin).tolist()
    all_seeds = subject.text("seed")
    of_seed = {str(all_seeds[row]): troubles[row] for row in rows if row in troubles}
    compared = [of_seed[seed] for seed in seeds if seed in of_seed]
    return (twin if compared else None), compared


def _advice(subject: Subject, position: int, twin: int | None, compared: list[str | None]) -> str:
    if twin is None:
        return ". Lower training.learning_rate, or set max_gradient_norm."
    who = f"; with the same seed that of {_named(subject, twin, position)}"
    if any(compared):
        return f"{who} is no better. Lower the learning rate."
    return (
        f"{who} falls steadily. A smaller learning rate or a longer warm-up "
        "(training.warmup_fraction) may mend that."
    )


def _twin(subject: Subject, position: int) -> int | None:
    """The configuration of the fewest workers that makes the same batches, if fewer than its own.

    One with the same other settings where there is any.
    """
    workers, batches = subject.world_size, subject.global_batch_size
    fewer = np.flatnonzero((batches == batches[position]) & (workers < workers[position]))
    if not len(fewer):
        return None
    other = subject.factors.differ(position)[FACTORS.index("settings")]
    return int(min(fewer, key=lambda one: (other[one], workers[one])))


def _named(subject: Subject, twin: int, position: int) -> str:
    """The twin with whatever is set in it unlike in the configuration that it is compared with."""
    names = subject.standing.names
    other = subject.factors.differ(position)[FACTORS.index("settings")]
    difference = names.difference(twin, position) if other[twin] else ""
    return names[twin] if difference in names[twin] else f"{names[twin]} ({difference})"


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
