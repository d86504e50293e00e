"""What tests of quality found, for every configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ddp_sweep.analysis.metrics import Margin
from ddp_sweep.analysis.outcome import Verdict
from ddp_sweep.analysis.statistics.estimation import Booleans, Floats, Integers

__all__ = ["Demands", "FloorResults", "LossTests", "MetricResults", "Verdicts", "decided", "merge"]

Verdicts = npt.NDArray[np.str_]


@dataclass(frozen=True, kw_only=True)
class Demands:
    """What quality must not lose, and what it must have at least."""

    margins: Mapping[str, Margin]
    floors: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class MetricResults:
    """One metric of every configuration against its reference; shape [configurations]."""

    margin: Margin | None
    sign: int | None
    """+1 where higher is better, -1 where lower is; None where that is not known."""
    n: Floats
    """Pairs of seeds, or runs of the smaller side."""
    reference: Floats
    value: Floats
    difference: Floats
    """Value - reference; value / reference - 1 with a relative margin."""
    low: Floats
    high: Floats
    population_low: Floats
    """With the sampling error of the validation set; NaN where that is not known."""
    population_high: Floats
    p_value: Floats
    """NaN without a margin."""
    end_value: Floats
    missing: Booleans
    """Some finished run, of the configuration or the reference, has no value."""
    verdict: Verdicts
    """On this validation set; empty without a margin."""
    holds_beyond: Booleans
    """The interval with the sampling error of the validation set is inside the margin too."""
    seeds_needed: Floats
    """Fresh seeds a side that would show quality to hold; NaN where they would not, or without a
    margin."""


@dataclass(frozen=True, kw_only=True)
class FloorResults:
    """One floor on every configuration; shape [configurations]."""

    floor: float
    value: Floats
    low: Floats
    """One-sided bounds of the mean over seeds."""
    high: Floats
    verdict: Verdicts


@dataclass(frozen=True, kw_only=True)
class LossTests:
    """Every demand on every configuration."""

    metrics: Mapping[str, MetricResults]
    floors: Mapping[str, FloorResults]

    @property
    def tested(self) -> dict[str, MetricResults]:
        """The metrics that have a margin."""
        return {name: found for name, found in self.metrics.items() if found.margin is not None}

    def verdicts(self) -> Verdicts:
        """Lost where one demand shows it, held where all do; shape [configurations]."""
        single = [found.verdict for found in self.tested.values()]
        single += [found.verdict for found in self.floors.values()]
        held = np.logical_and.reduce([found == Verdict.NON_INFERIOR for found in single])
        lost = np.logical_or.reduce([found == Verdict.INFERIOR for found in single])
        return decided(held & bool(self.tested), lost)


def merge(together: LossTests, looks: Sequence[LossTests], deciding: Integers) -> LossTests:
    """The results of each configuration at the look that decides about it.

    Args:
        together: The results of all runs; they tell the value at the end of training and how many
            more seeds are needed.
        looks: The results of each look.
        deciding: Index of the look of each configuration; shape [configurations].
    """
    metrics = {}
    for name, whole in together.metrics.items():
        found = [look.metrics[name] for look in looks if name in look.metrics]
        if len(found) == len(looks):
            chosen = _at(found, deciding)
            metrics[name] = replace(
                chosen, end_value=whole.end_value, seeds_needed=whole.seeds_needed
            )
    floors = {
        name: _at([look.floors[name] for look in looks], deciding) for name in together.floors
    }
    return LossTests(metrics=metrics, floors=floors)


def _at(found: Sequence[Any], deciding: Integers) -> Any:  # noqa: ANN401 - one type in, the same out
    """The arrays of several results, each entry from the one that decides."""
    positions = np.arange(len(deciding))
    arrays = {
        field.name: np.stack([getattr(one, field.name) for one in found])[deciding, positions]
        for field in fields(found[0])
        if isinstance(getattr(found[0], field.name), np.ndarray)
    }
    return replace(found[0], **arrays)


def decided(passes: Booleans, fails: Booleans) -> Verdicts:
    """A verdict for each configuration; not yet known where neither is shown."""
    choices = [Verdict.NON_INFERIOR.value, Verdict.INFERIOR.value]
    return np.select([passes, fails], choices, Verdict.INCONCLUSIVE.value)
