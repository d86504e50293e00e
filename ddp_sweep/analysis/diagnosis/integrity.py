"""Was the training what it claims to be: data apart, replicas equal, the gradient exact."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ddp_sweep.analysis.diagnosis.subject import Found, Subject
from ddp_sweep.analysis.diagnosis.traces import trace_gaps
from ddp_sweep.analysis.outcome import Finding, Severity
from ddp_sweep.analysis.wording import count, ratio
from ddp_sweep.schema import REPLICAS_DIFFER

__all__ = [
    "data_leakage",
    "repeated_samples",
    "unequal_work",
    "unsynchronized_replicas",
    "wrong_gradient_averaging",
]

_NOTABLE_OVERLAP = 0.01
_GRADIENT_TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}
"""Relative error of a synchronized gradient that rounding does not reach."""
_NOTABLE_IMBALANCE = 1.1
_NOTABLE_LEAD = 1.3
"""Of two workers with equal work on a busy machine, 1.2 is seen often."""
_NAMED = 3
_MORE_TOKENS = (
    "the worker with the most tokens has {}x as many as the one with the least; sequences of like "
    "length, or packed to one, avoid that"
)
_MORE_WEIGHT = (
    "the losses of one worker weigh {}x those of another: class weights or masks that fall "
    "unevenly, or batches that the workers cannot share evenly. The gradient is exact all the "
    "same, and weight is no measure of work"
)
_SLOWER = (
    "the slowest worker takes {}x as long for its own part of a step as the {}, and all others "
    "wait for it: look for other load there, or data that takes longer to load or to compute"
)

_NOT_COUNTED = (
    "Whether validation samples also are training samples was not looked at: reading all samples "
    "would have taken too long, or they are not the same each time (chance in __getitem__), or of "
    "a kind that cannot be compared. Make sure that the split keeps them apart."
)


def data_leakage(subject: Subject) -> Iterator[Finding]:
    """Validation samples that the model was trained on."""
    overlap = subject.column("train_val_overlap")
    probed = ~np.isnan(subject.column("gradient_error"))
    if probed.any() and np.isnan(overlap).all():
        yield Finding(kind="leakage_not_counted", severity=Severity.INFO, message=_NOT_COUNTED)
    if not (overlap > 0).any():
        return
    worst = int(np.nanargmax(overlap))
    copies, samples = int(overlap[worst]), subject.column("expected_eval_samples")[worst]
    of_all = "" if np.isnan(samples) else f" of {int(samples):,}"
    grave = np.isnan(samples) or copies >= _NOTABLE_OVERLAP * samples
    yield Finding(
        kind="data_leakage",
        severity=Severity.ERROR if grave else Severity.WARNING,
        message=(
            f"{copies:,}{of_all} validation samples also are training samples, so quality on "
            "them says nothing about new data. Take them out of one of the two sets. Only exact "
            "copies were looked for; there may be near ones as well."
        ),
        evidence={
            "train_val_overlap": copies,
            "validation_samples": None if np.isnan(samples) else int(samples),
        },
    )


def repeated_samples(subject: Subject) -> Iterator[Finding]:
    """Samples drawn twice in an epoch, in place of others."""
    again = subject.column("duplicate_samples")
    if (again > 0).any():
        yield Finding(
            kind="repeated_samples",
            severity=Severity.ERROR,
            message=(
                f"{count(int((again > 0).sum()), 'run')} drew samples twice in an epoch, so that "
                "others were left out; please report this as a bug"
            ),
            evidence={"largest": int(np.nanmax(again)), "runs": int((again > 0).sum())},
        )


def unsynchronized_replicas(subject: Subject) -> Found:
    """Workers that did not hold the same weights."""
    details = subject.text("status_detail")
    differ = np.char.startswith(details, REPLICAS_DIFFER)
    apart = np.nan_to_num(subject.column("replica_divergence")) > 0
    for position in subject.positions(differ | apart):
        own = subject.measured.configuration == position
        gaps = _tensor_gaps(details[own & differ])
        if (own & apart).any():
            yield int(position), _parameters_apart(subject, own & apart, gaps["parameters"])
        elif gaps["buffers"]:
            yield int(position), _buffers_apart(gaps["buffers"])


def _tensor_gaps(details: Any) -> dict[str, dict[str, float]]:  # noqa: ANN401 - array of texts
    """The largest difference of each tensor over several runs."""
    gaps: dict[str, dict[str, float]] = {"parameters": {}, "buffers": {}}
    for detail in details:
        try:
            found = json.loads(str(detail).removeprefix(REPLICAS_DIFFER))
        except json.JSONDecodeError:
            continue
        for kind, known in gaps.items():
            for name, gap in found.get(kind, {}).items():
                known[name] = max(gap, known.get(name, 0.0))
    return gaps


def _parameters_apart(subject: Subject, runs: Any, gaps: Mapping[str, float]) -> Finding:  # noqa: ANN401
    largest = float(np.nanmax(subject.column("replica_divergence")[runs]))
    which = f" in {_named(gaps)}" if gaps else ""
    return Finding(
        kind="unsynchronized_replicas",
        severity=Severity.ERROR,
        message=(
            f"The workers' copies of the model were not the same: they differ by up to "
            f"{largest:.2g}{which}. Something changes weights outside of the averaged gradient: "
            "an optimizer or a training_step that writes to them, or parameters that the forward "
            "pass does not go through. Quality was measured on worker 0's copy alone."
        ),
        evidence={
            "replica_divergence": largest,
            "parameters": dict(gaps),
            "runs": int(runs.sum()),
        },
    )


def _buffers_apart(gaps: Mapping[str, float]) -> Finding:
    return Finding(
        kind="unsynchronized_replicas",
        severity=Severity.INFO,
        message=(
            f"The parameters of all workers are equal; buffers are not ({_named(gaps)}). Before "
            "every forward pass they are overwritten with worker 0's, so what other workers put "
            "there is lost."
        ),
        evidence={"buffers": dict(gaps)},
    )


def _named(gaps: Mapping[str, float]) -> str:
    ordered = sorted(gaps, key=lambda name: -gaps[name])
    shown = ", ".join(f"{name} (by {gaps[name]:.2g})" for name in ordered[:_NAMED])
    more = len(ordered) - _NAMED
    return shown + (f" and {more} more" if more > 0 else "")


def wrong_gradient_averaging(subject: Subject) -> Found:
    """Gradients that are not the mean over all samples, and losses that part from their twin's."""
    error = subject.column("gradient_error")
    precision = subject.text("compute_precision")
    tolerance = np.where(
        precision == "bfloat16", _GRADIENT_TOLERANCE["bfloat16"], _GRADIENT_TOLERANCE["float32"]
    )
    largest = subject.largest(np.where(error > tolerance, error, np.nan))
    traces = trace_gaps(subject)
    for position in sorted({*np.flatnonzero(~np.isnan(largest)).tolist(), *traces}):
        error_here, trace = float(largest[position]), traces.get(position)
        yield position, _wrong_gradient(subject, position, error_here, trace)


def _wrong_gradient(
    subject: Subject, position: int, error: float, trace: tuple[float, int] | None
) -> Finding:
    workers = int(subject.world_size[position])
    evidence: dict[str, Any] = {"world_size": workers}
    parts = []
    if not np.isnan(error):
        evidence["gradient_error"] = error
        text = f"the synchronized gradient is off the exact one by {100 * error:.2g} % of it"
        if workers > 1 and abs(error / (workers - 1) - 1) < 0.02:
            text += f", as when gradients of {workers} workers are added up and not averaged"
        parts.append(text)
    if trace is not None:
        evidence |= {"loss_difference": trace[0], "optimizer_step": trace[1]}
        parts.append(
            f"its loss differs by {100 * trace[0]:.2g} % at step {trace[1]} from the run of fewer "
            "workers that draws the same batches from the same seed"
        )
    said = "; ".join(parts)
    return Finding(
        kind="wrong_gradient_averaging",
        severity=Severity.ERROR,
        message=(
            f"{said[0].upper()}{said[1:]}. It trains another model than fewer workers do. Look "
            "for a communication hook, or a training_step that scales its loss by itself."
        ),
        evidence=evidence,
    )


def unequal_work(subject: Subject) -> Found:
    """Workers that hold more tokens than others, or take longer over their part of a step.

    What is recorded of each worker's share is the weight of its losses. That counts tokens for a
    language model; elsewhere weights may be class weights, which are no work.
    """
    imbalance = subject.mean(subject.column("batch_imbalance"))
    lead = subject.mean(subject.slowest_over_others)
    counted = subject.positions(~np.isnan(subject.column("throughput_tokens_per_s")))
    of_tokens = np.isin(np.arange(subject.measured.count), counted)
    uneven, slow = imbalance > _NOTABLE_IMBALANCE, lead > _NOTABLE_LEAD
    for position in np.flatnonzero(uneven | slow):
        parts = []
        if uneven[position]:
            text = _MORE_TOKENS if of_tokens[position] else _MORE_WEIGHT
            parts.append(text.format(ratio(imbalance[position])))
        if slow[position]:
            against = "other" if subject.world_size[position] == 2 else "middle one"
            parts.append(_SLOWER.format(ratio(lead[position]), against))
        said = "; ".join(parts)
        known = {
            "batch_imbalance": imbalance[position],
            "straggler_ratio": subject.mean(subject.column("straggler_ratio"))[position],
            "slowest_over_others": lead[position],
        }
        is_work = slow[position] or of_tokens[position]
        yield (
            int(position),
            Finding(
                kind="unequal_work",
                severity=Severity.WARNING if is_work else Severity.INFO,
                message=f"{said[0].upper()}{said[1:]}.",
                evidence={name: float(value) for name, value in known.items()},
            ),
        )
