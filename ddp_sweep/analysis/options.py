"""What a ranking is asked for: baseline, margins, floors and target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

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
