"""Which seeds came into a results folder, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["SeedAddition", "SeedPurpose", "seed_additions"]


class SeedPurpose(StrEnum):
    """Why seeds came into a results folder."""

    SWEEP = "sweep"
    """The seeds of the sweep file."""
    MORE_SEEDS = "more_seeds"
    """Asked for after a look at the results."""
    CONFIRMATION = "confirmation"
    """To measure the winner and the quality reference anew, on runs that did not choose them."""


@dataclass(frozen=True, kw_only=True)
class SeedAddition:
    """Seeds that one session of a sweep added; a session that only goes on adds none."""

    purpose: SeedPurpose
    seeds: tuple[int, ...]
    configuration_ids: tuple[str, ...] | None = None
    """The configurations that run with them; None for every one of the sweep."""
    session_id: str | None = None


def seed_additions(entries: Any) -> tuple[SeedAddition, ...]:  # noqa: ANN401 - any YAML value
    """The additions that the record of a folder lists, in order.

    Raises:
        ValueError: It holds something else.
    """
    try:
        return tuple(map(_addition, entries or ()))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("it holds no list of added seeds") from error


def _addition(entry: Mapping[str, Any]) -> SeedAddition:
    configurations = entry.get("configuration_ids")
    return SeedAddition(
        purpose=SeedPurpose(entry["purpose"]),
        seeds=tuple(int(seed) for seed in entry["seeds"]),
        configuration_ids=None if configurations is None else tuple(map(str, configurations)),
        session_id=entry.get("session_id"),
    )
