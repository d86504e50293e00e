"""Which configurations are in colour: the same one everywhere, the others grey."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ddp_sweep.analysis import RankedConfiguration, Ranking, Verdict
from ddp_sweep.analysis.wording import count
from ddp_sweep.report.page.palette import OTHERS, SERIES

__all__ = ["OTHER", "Emphasis", "Outcome", "emphasize", "outcome"]

OTHER = "other configurations"
"""What the legend calls those in grey."""


class Outcome(StrEnum):
    """What became of a configuration, as readers say it."""

    HELD = "quality held"
    WITHIN = "within the margin"
    """Where the only margins are on what a result costs."""
    UNKNOWN = "not yet known"
    LOST = "quality lost"
    OVER = "over the margin"
    FAILED = "did not finish"


_OUTCOMES = {
    Verdict.INCONCLUSIVE: Outcome.UNKNOWN,
    Verdict.INFERIOR: Outcome.LOST,
    Verdict.FAILED: Outcome.FAILED,
}


def outcome(entry: RankedConfiguration) -> Outcome:
    """The outcome of a configuration; of the speed baseline what is known of its own quality."""
    words = entry.reason.removeprefix("the speed baseline; ")
    said = next((found for found in Outcome if words.startswith(found)), None)
    return said or _OUTCOMES.get(entry.verdict, Outcome.HELD)


@dataclass(frozen=True, kw_only=True)
class Emphasis:
    """The configurations in colour, the most important first."""

    colours: Mapping[str, str]
    """Colour of each emphasized configuration by its name."""
    roles: Mapping[str, str]
    """What a configuration is known as: recommended, baseline, quality reference, cheapest."""
    note: str | None
    """Which are in colour, where not all of them are."""

    def __contains__(self, name: str) -> bool:
        return name in self.colours

    def series(self, name: str) -> str:
        """The entry of the legend that a configuration belongs to."""
        return name if name in self.colours else OTHER

    def label(self, name: str) -> str:
        """Name of a configuration with what it is known as."""
        role = self.roles.get(name)
        return name if role is None else f"{name} ({role})"

    def scale(self, names: set[str]) -> tuple[list[str], list[str]]:
        """Labels and colours of a legend of these configurations, grey last where needed."""
        shown = [name for name in self.colours if name in names]
        labels, colours = [*map(self.label, shown)], [self.colours[name] for name in shown]
        if names - set(shown):
            labels, colours = [*labels, OTHER], [*colours, OTHERS]
        return labels, colours

    def legend_label(self, name: str) -> str:
        """The label of the legend's entry for a configuration."""
        return self.label(name) if name in self.colours else OTHER


def emphasize(ranking: Ranking) -> Emphasis:
    """As many configurations as there are colours that people can tell apart."""
    names = list(dict.fromkeys(entry.name for entry in _by_importance(ranking)))
    chosen = names[: len(SERIES)]
    total = len(ranking.configurations)
    note = None
    if total > len(chosen):
        note = (
            f"{len(chosen)} of {count(total, 'configuration')} are in colour: "
            f"{', '.join(chosen)}; the others are grey."
        )
    return Emphasis(
        colours=dict(zip(chosen, SERIES, strict=False)), roles=_roles(ranking), note=note
    )


def _by_importance(ranking: Ranking) -> Iterator[RankedConfiguration]:
    chosen = ranking.recommendation
    yield from (entry for entry in (chosen.fastest, ranking.baseline) if entry is not None)
    yield ranking.reference
    yield from (entry for entry in (chosen.cheapest, chosen.advised) if entry is not None)
    yield from chosen.pareto
    yield from chosen.tied_with
    yield from ranking.configurations


def _roles(ranking: Ranking) -> dict[str, str]:
    chosen = ranking.recommendation
    named = (
        (chosen.fastest, "recommended"),
        (ranking.baseline, "baseline"),
        (ranking.reference, "quality reference"),
        (chosen.cheapest, "cheapest"),
        (chosen.advised, "cheaper, hardly slower"),
    )
    roles: dict[str, list[str]] = {}
    for entry, role in named:
        if entry is not None:
            roles.setdefault(entry.name, []).append(role)
    return {name: ", ".join(found) for name, found in roles.items()}
