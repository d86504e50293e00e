"""Signs that times were disturbed: other load, drift, outliers, uneven steps."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from ddp_sweep.analysis.diagnosis.disturbances import block_changes, outlying
from ddp_sweep.analysis.diagnosis.subject import Subject
from ddp_sweep.analysis.outcome import Finding, Severity
from ddp_sweep.analysis.statistics.estimation import Floats
from ddp_sweep.analysis.wording import count
from ddp_sweep.schema import CLOCKS_THROTTLED

__all__ = ["noisy_measurement"]

_NOTABLE_LOAD = 0.1
_NOTABLE_THROTTLING = 0.01
_NOTABLE_SPREAD = 2.0


def noisy_measurement(subject: Subject) -> Iterator[Finding]:
    """Each sign of a disturbed measurement, over all runs."""
    yield from _other_load(subject)
    if not subject.measured.ours:
        return
    yield from _throttled(subject)
    yield from _uneven_steps(subject)
    logs = _log_times(subject)
    yield from _over_blocks(subject, logs)
    yield from _outliers(subject, logs)


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


def _log_times(subject: Subject) -> Floats:
    """Log training time of a sample of each run, NaN where the time says nothing about speed.

    Of the whole training, also where a target is set: when that is met depends on the seed, and a
    block is a seed.
    """
    return np.where(subject.measured.untimed, np.nan, np.log(subject.seconds_a_sample))


def _over_blocks(subject: Subject, logs: Floats) -> Iterator[Finding]:
    residual = logs - subject.mean(logs)[subject.measured.configuration]
    block = subject.column("block")
    known = ~np.isnan(block) & ~np.isnan(residual)
    if len(set(subject.text("session_id")[known])) > 1:
        return
    for found in block_changes(residual[known], block[known]):
        share = float(np.expm1(found.change))
        words = _first_block if found.sign == "first_block" else _drift
        yield _noisy(
            Severity.WARNING, words(share), found.sign, change=share, p_value=found.p_value
        )


def _first_block(share: float) -> str:
    return (
        f"Runs of the first block took {100 * share:.0f} % longer than later ones: the machine "
        "was not warm, or busy. Its other runs are not touched by that, since configurations are "
        "compared within a block."
    )


def _drift(share: float) -> str:
    return (
        f"Times drifted: from the first block to the last, runs became {100 * abs(share):.0f} % "
        f"{'longer' if share > 0 else 'shorter'}. Comparisons within a block are not touched by "
        "that; look for heat, or for other programs."
    )


def _outliers(subject: Subject, logs: Floats) -> Iterator[Finding]:
    far, by = outlying(logs, subject.measured.configuration)
    if far.any():
        worst = int(np.argmax(np.where(far, np.abs(by), -1)))
        name = subject.standing.names[int(subject.measured.configuration[worst])]
        seed = subject.text("seed")[worst]
        yield _noisy(
            Severity.WARNING,
            f"{count(int(far.sum()), 'run')} took a time far from that of the others of the "
            f"same configuration ({name}, seed {seed}: {100 * by[worst]:+.0f} %). "
            "Look at what else ran then; nothing was left out.",
            "outliers",
            runs=int(far.sum()),
            largest=float(by[worst]),
        )
