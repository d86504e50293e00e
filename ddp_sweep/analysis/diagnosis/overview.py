"""Findings about the ranking as a whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ddp_sweep.analysis.diagnosis.integrity import data_leakage, repeated_samples
from ddp_sweep.analysis.diagnosis.noise import noisy_measurement
from ddp_sweep.analysis.diagnosis.rows import runs_without_quality, runs_without_time
from ddp_sweep.analysis.diagnosis.speed import idle_cores
from ddp_sweep.analysis.diagnosis.subject import Subject
from ddp_sweep.analysis.options import RankingOptions
from ddp_sweep.analysis.outcome import Finding, Severity, Verdict
from ddp_sweep.analysis.statistics.speedup import STARTS_NEEDED, speedups
from ddp_sweep.analysis.tables.columns import numbers
from ddp_sweep.analysis.tables.measurements import Ending
from ddp_sweep.analysis.tables.sources import Source
from ddp_sweep.analysis.verdicts.baselines import fastest_of_smallest, same_sizes
from ddp_sweep.analysis.verdicts.demands import margin_findings
from ddp_sweep.analysis.verdicts.standing import Standing
from ddp_sweep.analysis.wording import count, ratio

__all__ = ["diagnose"]

_NOTABLE_GAIN = 1.02


def diagnose(
    standing: Standing, winner: int | None, source: Source, options: RankingOptions
) -> tuple[Finding, ...]:
    """Findings about the ranking as a whole, the gravest first.

    Args:
        standing: Where every configuration stands.
        winner: Number of the recommended configuration.
        source: Where the runs come from.
        options: What they were judged by.
    """
    leader = _leader(standing) if winner is None else winner
    subject = Subject(standing=standing, options=options, evals=source.evals, steps=source.steps)
    findings = [
        *_files(source),
        *source.findings,
        *_repeated_seeds(standing),
        *runs_without_time(standing),
        *runs_without_quality(standing),
        *_evaluated_counts(standing),
        *data_leakage(subject),
        *repeated_samples(subject),
        *_reference(standing, options),
        *_baseline(standing, options, leader, winner),
        *margin_findings(standing),
        *_grid_edges(standing, leader),
        *_untried_batch(standing, leader),
        *_untimed(standing),
        *_one_start(standing),
        *_lost_runs(standing),
        *noisy_measurement(subject),
        *idle_cores(subject),
        *_end_quality(source, options),
    ]
    gravity = [Severity.ERROR, Severity.WARNING, Severity.INFO]
    return tuple(sorted(findings, key=lambda finding: gravity.index(finding.severity)))


def _leader(standing: Standing) -> int:
    """What a reader looks at first where nothing is recommended."""
    unknown = standing.faster_unknown
    return standing.baseline if unknown is None else unknown


def _files(source: Source) -> Iterator[Finding]:
    for problem in source.problems:
        yield Finding(kind="unreadable_file", severity=Severity.WARNING, message=problem)


def _repeated_seeds(standing: Standing) -> Iterator[Finding]:
    """Runs of one seed share weights and data order: they say little about another seed."""
    measured = standing.measured
    if "seed" not in measured.runs:
        return
    keys = [name for name in ("sweep", "seed") if name in measured.runs]
    runs = measured.runs[keys].assign(configuration=measured.configuration)
    known = runs["seed"].notna().to_numpy() & (measured.ending != Ending.LOST)
    repeated = runs[known][runs[known].duplicated().to_numpy()]
    touched = np.unique(repeated["configuration"])
    if len(touched):
        yield Finding(
            kind="repeated_seeds",
            severity=Severity.WARNING,
            message=(
                f"{count(len(touched), 'configuration')} ran a seed more than once "
                f"({standing.names[touched[0]]}: seed {repeated['seed'].iloc[0]}). Runs of one "
                "seed differ less than runs of several, so the intervals of quality may be too "
                "narrow."
            ),
            evidence={"configurations": len(touched), "runs": len(repeated)},
        )


def _evaluated_counts(standing: Standing) -> Iterator[Finding]:
    runs = standing.measured.runs
    seen, expected = numbers(runs, "eval_samples"), numbers(runs, "expected_eval_samples")
    wrong = int(((seen != expected) & ~np.isnan(seen) & ~np.isnan(expected)).sum())
    if wrong:
        yield Finding(
            kind="evaluation_incomplete",
            severity=Severity.ERROR,
            message=(
                f"{count(wrong, 'run')} evaluated another number of samples than the validation "
                "set has, so quality cannot be compared; please report this as a bug"
            ),
            evidence={"runs": wrong},
        )


def _reference(standing: Standing, options: RankingOptions) -> Iterator[Finding]:
    name = standing.names[standing.reference]
    if not standing.measured.tally(Ending.FINISHED)[standing.reference]:
        yield Finding(
            kind="reference_failed",
            severity=Severity.WARNING,
            message=(
                f"Quality is judged against {name}, and none of its runs finished, so nothing is "
                "known about quality. Name another one as baseline in the sweep file."
            ),
        )
    others = same_sizes(standing.measured, standing.reference)
    if len(others) and options.baseline is None:
        yield Finding(
            kind="reference_ambiguous",
            severity=Severity.INFO,
            message=(
                f"{count(len(others) + 1, 'configuration')} have the workers and the batch that "
                f"quality is judged against; {name} was taken. Name another one as baseline in "
                "the sweep file."
            ),
            evidence={"taken": name, "others": [standing.names[other] for other in others[:20]]},
        )


def _baseline(
    standing: Standing, options: RankingOptions, leader: int, winner: int | None
) -> Iterator[Finding]:
    """A baseline that is not the best of its world size flatters every speedup.

    Where the best is what is recommended, the recommendation says so already.
    """
    verdicts = standing.assessment.judgements.verdict
    allowed = np.isin(verdicts, [Verdict.NON_INFERIOR.value, Verdict.INCONCLUSIVE.value])
    baseline = np.full(standing.measured.count, standing.baseline)
    best = int(fastest_of_smallest(standing.measured, baseline, allowed)[standing.baseline])
    gain = standing.speed.speedup[best]
    if best in (standing.baseline, winner) or np.isnan(gain) or gain <= _NOTABLE_GAIN:
        return
    honest = float(speedups(standing.measured, best).speedup[leader])
    naive = float(standing.speed.speedup[leader])
    names = standing.names
    known = bool(verdicts[best] == Verdict.NON_INFERIOR)
    message = (
        f"Speedups are relative to {names[standing.baseline]}, but {names[best]} is "
        f"{ratio(gain)}x as fast with as many workers"
    )
    message += "." if known else ", though whether its quality holds is not yet known."
    if leader not in (best, standing.baseline) and not np.isnan(honest + naive):
        message += (
            f" Against it, {names[leader]} is {ratio(honest)}x as fast instead of {ratio(naive)}x."
        )
    yield Finding(
        kind="weak_baseline",
        severity=Severity.WARNING if known or options.baseline is not None else Severity.INFO,
        message=message,
        evidence={
            "baseline": names[standing.baseline],
            "best": names[best],
            "configuration": names[leader],
            "naive_speedup": naive,
            "honest_speedup": honest,
        },
    )


def _grid_edges(standing: Standing, leader: int) -> Iterator[Finding]:
    """A best batch at the edge of those tried: there may be better ones beyond it."""
    settings = standing.measured.settings
    if "global_batch_size" not in settings:
        return
    for position in dict.fromkeys([standing.baseline, leader]):
        workers = settings["world_size"].iloc[position]
        tried = settings.loc[settings["world_size"] == workers, "global_batch_size"].dropna()
        batch = settings["global_batch_size"].iloc[position]
        if batch not in (tried.min(), tried.max()):
            continue
        edge, other = ("largest", "larger") if batch == tried.max() else ("smallest", "smaller")
        if tried.nunique() == 1:
            edge, other = "only", "different"
        consequence = ", and every speedup smaller" if position == standing.baseline else " still"
        yield Finding(
            kind="edge_of_grid",
            severity=Severity.INFO,
            message=(
                f"{standing.names[position]} has the {edge} batch tried on "
                f"{count(int(workers), 'worker')}; a {other} one might be faster"
                f"{consequence}."
            ),
            evidence={"configuration": standing.names[position], "edge": edge},
        )


def _untried_batch(standing: Standing, leader: int) -> Iterator[Finding]:
    settings = standing.measured.settings
    if "global_batch_size" not in settings:
        return
    sizes, batches = settings["world_size"], settings["global_batch_size"]
    batch = batches.iloc[leader]
    if sizes.iloc[leader] == sizes.min() or (batches[sizes == sizes.min()] == batch).any():
        return
    yield Finding(
        kind="batch_untried_on_smallest",
        severity=Severity.WARNING,
        message=(
            f"A global batch of {int(batch):,} was not tried on "
            f"{count(int(sizes.min()), 'worker')}, so part of the speedup of "
            f"{standing.names[leader]} may come from its batch and not from its workers."
        ),
        evidence={"global_batch_size": int(batch), "world_size": int(sizes.min())},
    )


def _untimed(standing: Standing) -> Iterator[Finding]:
    measured = standing.measured
    if not measured.untimed.any():
        return
    touched = np.unique(measured.configuration[measured.untimed])
    packed = (measured.runs["placement"] == "packed").any() if "placement" in measured.runs else 0
    why = "other trials ran beside it" if packed else "the workers outnumbered the cores"
    quality = " Verdicts on quality are not touched by that." if packed else ""
    yield Finding(
        kind="packed" if packed else "oversubscribed",
        severity=Severity.WARNING,
        message=(
            f"No speedup is given for {count(len(touched), 'configuration')}, because {why}: such "
            f"times say nothing about a machine that is large enough.{quality}"
        ),
        evidence={"configurations": [standing.names[position] for position in touched[:20]]},
    )


def _one_start(standing: Standing) -> Iterator[Finding]:
    within = standing.speed.within_one_start
    timed = ~np.isnan(standing.speed.low)
    timed[standing.baseline] = False
    if within is None or not (within & timed).any():
        return
    yield Finding(
        kind="within_one_start",
        severity=Severity.INFO,
        message=(
            f"The speedups rest on fewer than {STARTS_NEEDED} starts of the worker processes: "
            "their intervals hold within one start, and another start may differ by more."
        ),
        evidence={"configurations": int((within & timed).sum())},
    )


def _lost_runs(standing: Standing) -> Iterator[Finding]:
    lost = int(standing.measured.tally(Ending.LOST).sum())
    if lost:
        yield Finding(
            kind="lost_runs",
            severity=Severity.WARNING,
            message=(
                f"Interruption, dead workers or a smaller cluster cost {count(lost, 'run')}, not "
                "counted either way; the same `ddp-sweep run` command goes on with what is "
                "missing."
            ),
            evidence={"runs": lost},
        )


def _end_quality(source: Source, options: RankingOptions) -> Iterator[Finding]:
    if options.target and source.ours and source.evals is None:
        yield Finding(
            kind="end_quality",
            severity=Severity.INFO,
            message=(
                "Without the evaluations, quality is that of the end of training and not of the "
                "moment that met the target; rank the results folder to have both."
            ),
        )
