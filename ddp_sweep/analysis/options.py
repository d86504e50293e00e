"""What a ranking is asked for: baseline, margins, floors and target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ddp_sweep.analysis.metrics import COST_METRICS
from ddp_sweep.errors import TableError
from ddp_sweep.spec.metrics import floor_problem, margin_problem, target_problem

__all__ = ["RankingOptions"]


@dataclass(frozen=True, kw_only=True)
class RankingOptions:
    """What configurations are judged by; see design.md section 7."""

    baseline: Mapping[str, Any] | None = None
    """Settings that name the baseline, ``{"world_size": 1}``; None chooses one."""
    margins: Mapping[str, float | str] = field(default_factory=dict)
    """The largest loss of each metric that counts as none: 0.01, or "2%" of the reference."""
    floors: Mapping[str, float] = field(default_factory=dict)
    """The least acceptable value, ``{"recall[1]": 0.8}``."""
    target: Mapping[str, float] = field(default_factory=dict)
    """The quality that ends the clock, ``{"accuracy": 0.95}``."""
    reference_batch_size: float | None = None
    """Global batch size nearest to which the quality reference is chosen."""

    @classmethod
    def from_spec_mapping(cls, spec: Mapping[str, Any]) -> RankingOptions:
        """The options that a resolved sweep file asks for."""
        quality = spec.get("quality") or {}
        training = spec.get("training") or {}
        baseline = spec.get("baseline")
        return cls(
            baseline=baseline if isinstance(baseline, Mapping) else None,
            margins=dict(quality.get("margins") or {}),
            floors=dict(quality.get("floors") or {}),
            target=dict(quality.get("target") or {}),
            reference_batch_size=training.get("reference_batch_size"),
        )

    def overridden(self, **given: Any) -> RankingOptions:  # noqa: ANN401 - any field of this class
        """These options with each one that was given (is not None) in the place of its own."""
        return replace(self, **{key: value for key, value in given.items() if value is not None})

    def check(self) -> None:
        """Check what was asked for; whether it was measured shows later.

        Raises:
            TableError: A metric does not exist, or a value is none that it can have.
        """
        for metric, margin in self.margins.items():
            if metric not in COST_METRICS:
                _refuse("margin", metric, margin_problem(metric, margin))
        for kind, wanted, problem in (
            ("floor", self.floors, floor_problem),
            ("target", self.target, target_problem),
        ):
            for metric, value in wanted.items():
                _refuse(kind, metric, _number_problem(value) or problem(metric, value))


def _number_problem(value: object) -> str | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return None if number else f"received {value!r}; allowed: a number"


def _refuse(kind: str, metric: str, problem: str | None) -> None:
    if problem is not None:
        raise TableError(f"{kind} of {metric}: {problem}")
