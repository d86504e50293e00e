"""Signs that times were disturbed: other load, drift, outliers, uneven steps."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
from scipy.special import stdtr

from ddp_sweep.analysis.diagnosis.subject import Subject
from ddp_sweep.analysis.outcome import Finding, Severity
from ddp_sweep.analysis.statistics.estimation import Booleans, Floats, Integers
from ddp_sweep.analysis.wording import count
from ddp_sweep.schema import CLOCKS_THROTTLED

__all__ = ["modified_z_scores", "noisy_measurement", "slope"]

_NOTABLE_LOAD = 0.1
_NOTABLE_THROTTLING = 0.01
_NOTABLE_SPREAD = 2.0
_NOTABLE_CHANGE = 0.03
_ALPHA = 0.01
_LEAST_BLOCKS = 4
_LEAST_RUNS = 5
_OUTLYING = 3.5
_OUTLYING_BY = 0.05


def noisy_measurement(subject: Subject) -> Iterator[Finding]:
    """Each sign of a disturbed measurement, over all runs."""
    yield from _other_load(subject)
    if not subject.measured.ours:
        return
    yield from _throttled(subject)
    yield from _uneven_steps(subject)
    time_s = _comparable_times(subject)
    logs = np.log(time_s)
    yield from _over_blocks(subject, logs - subject.mean(logs)[subject.measured.configuration])
    yield from _outliers(subject, time_s)


def _noisy(severity: Severity, message: str, sign: str, **evidence: float) -> Finding:
    return Finding(
        kind="noisy_measurement",
        severity=severity,
        message=message,
        evidence={"sign": sign, **evidence},
    )


def _other_load(subject: Subject) -> Iterator[Finding]:
    # Trials that ran side by side are load to each other, and no time of theirs is compared.
    beside = subject.text("placement") == "packed"
    load = np.where(beside, np.nan, subject.column("other_load"))
    busy = int((load > _NOTABLE_LOAD).sum())
    if busy:
        largest = float(np.nanmax(load))
        yield _noisy(
            Severity.WARNING,
            f"Other programs used up to {100 * largest:.0f} % of the machine's cores before "
            f"{busy} of {len(load)} runs; their times may be too long.",
            "other_load",
            runs=busy,
            largest=largest,
        )


def _throttled(subject: Subject) -> Iterator[Finding]:
    """Runs during which clocks were lowered for long, or nobody knows for how long."""
    details = subject.text("status_detail")
    with np.errstate(invalid="ignore"):
        ran_s = subject.column("train_time_s") + np.nan_to_num(subject.column("eval_time_s"))
    slowed, longest, reasons = 0, 0.0, set[str]()
    for row in np.flatnonzero(np.char.startswith(details, CLOCKS_THROTTLED)):
        try:
            found = json.loads(str(details[row]).removeprefix(CLOCKS_THROTTLED))
        except json.JSONDecodeError:
            continue
        seconds = found.get("seconds")
        share = None if seconds is None or not ran_s[row] > 0 else seconds / ran_s[row]
        if share is not None and share < _NOTABLE_THROTTLING and not found.get("reasons"):
            continue
        slowed += 1
        longest = max(longest, share or 0.0)
        reasons |= set(found.get("reasons") or ["heat"])
    if slowed:
        share_text = f" for up to {100 * min(1.0, longest):.0f} % of the time" if longest else ""
        yield _noisy(
            Severity.WARNING,
            f"Clocks throttled: in {slowed} of {len(details)} runs the clock was lowered"
            f"{share_text} ({', '.join(sorted(reasons))}), so their times are too long. See to "
            "cooling and power, or let fewer devices of the machine work at once.",
            "clocks",
            runs=slowed,
            largest=longest,
        )


def _uneven_steps(subject: Subject) -> Iterator[Finding]:
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = subject.column("step_time_p95_s") / subject.column("step_time_median_s")
    typical = float(np.nanmedian(spread)) if np.isfinite(spread).any() else 0.0
    if typical > _NOTABLE_SPREAD:
        yield _noisy(
            Severity.INFO,
            f"Step times are uneven: one in twenty takes {typical:.1f}x the median or more. "
            "Something interrupts the workers; a quieter machine gives narrower intervals.",
            "step_times",
            p95_over_median=typical,
        )


def _comparable_times(subject: Subject) -> Floats:
    """Training time of a sample of each run, NaN where it says nothing about speed.

    Of the whole training, also where a target is set: when that is met depends on the seed, and a
    block is a seed.
    """
    return np.where(subject.measured.untimed, np.nan, subject.seconds_a_sample)


def _over_blocks(subject: Subject, residual: Floats) -> Iterator[Finding]:
    block = subject.column("block")
    known = ~np.isnan(block) & ~np.isnan(residual)
    blocks = np.unique(block[known])
    if len(blocks) < _LEAST_BLOCKS or len(set(subject.text("session_id")[known])) > 1:
        return
    residual, block = residual[known], block[known]
    first = block == blocks[0]
    slower = float(residual[first].mean() - residual[~first].mean())
    if first.sum() >= 2 and slower > _NOTABLE_CHANGE:
        _, p_value = slope(first.astype(np.float64), residual)
        if p_value < _ALPHA:
            yield _noisy(
                Severity.WARNING,
                f"Runs of the first block took {100 * np.expm1(slower):.0f} % longer than later "
                "ones: the machine was not warm, or busy. Its other runs are not touched by that, "
                "since configurations are compared within a block.",
                "first_block",
                slower=float(np.expm1(slower)),
                p_value=p_value,
            )
            residual, block = residual[~first], block[~first]
    yield from _drift(residual, block)


def _drift(residual: Floats, block: Floats) -> Iterator[Finding]:
    if len(np.unique(block)) < _LEAST_BLOCKS:
        return
    each, p_value = slope(block, residual)
    change = each * float(block.max() - block.min())
    if abs(change) > _NOTABLE_CHANGE and p_value < _ALPHA:
        way = "longer" if change > 0 else "shorter"
        yield _noisy(
            Severity.WARNING,
            f"Times drifted: from the first block to the last, runs became "
            f"{100 * abs(np.expm1(change)):.0f} % {way}. Comparisons within a block are not "
            "touched by that; look for heat, or for other programs.",
            "drift",
            change=float(np.expm1(change)),
            p_value=p_value,
        )


def _outliers(subject: Subject, time_s: Floats) -> Iterator[Finding]:
    outlying, by = _outlying(time_s, subject.measured.configuration)
    if outlying.any():
        worst = int(np.argmax(np.where(outlying, np.abs(by), -1)))
        name = subject.standing.names[int(subject.measured.configuration[worst])]
        seed = subject.text("seed")[worst]
        yield _noisy(
            Severity.WARNING,
            f"{count(int(outlying.sum()), 'run')} took a time far from that of the others of the "
            f"same configuration ({name}, seed {seed}: {100 * by[worst]:+.0f} %). "
            "Look at what else ran then; nothing was left out.",
            "outliers",
            runs=int(outlying.sum()),
            largest=float(by[worst]),
        )


def _outlying(time_s: Floats, groups: Integers) -> tuple[Booleans, Floats]:
    """Runs far from their configuration's median, and by what share of it."""
    outlying, by = np.zeros(len(time_s), dtype=np.bool_), np.zeros(len(time_s))
    usable = np.isfinite(time_s)
    sizes = np.bincount(groups[usable], minlength=int(groups.max()) + 1 if len(groups) else 0)
    for group in np.flatnonzero(sizes >= _LEAST_RUNS):
        rows = np.flatnonzero(usable & (groups == group))
        values = time_s[rows]
        by[rows] = values / np.median(values) - 1
        far = np.abs(modified_z_scores(values)) > _OUTLYING
        outlying[rows] = far & (np.abs(by[rows]) > _OUTLYING_BY)
    return outlying, by


def slope(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope of a line by least squares, and the p-value of a two-sided t-test that it is 0.

    With x of 0 and 1 alone this is the t-test of two means.
    """
    degrees = len(x) - 2
    centred = x - x.mean()
    each = float(centred @ y / (centred @ centred))
    rest = y - y.mean() - each * centred
    error = float(np.sqrt(rest @ rest / degrees / (centred @ centred)))
    if error == 0:
        return each, 0.0 if each else 1.0
    return each, float(2 * stdtr(degrees, -abs(each) / error))


def modified_z_scores(values: Floats) -> Floats:
    """0.6745 (x - median) / MAD, shape as given; infinite off the median where the MAD is 0.

    Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993): above 3.5 is an outlier.
    """
    gap = values - np.median(values)
    spread = float(np.median(np.abs(gap)))
    with np.errstate(divide="ignore", invalid="ignore"):
        scores: Floats = 0.6745 * gap / spread
    return np.where(gap == 0, 0.0, scores)
