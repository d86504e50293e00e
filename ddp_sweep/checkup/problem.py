"""One thing that is wrong with a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Found", "Gravity", "Problem"]


class Gravity(StrEnum):
    """Whether something keeps a sweep from working, or may."""

    PROBLEM = "problem"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong."""

    kind: str
    gravity: Gravity
    message: str
    remedy: str
    node: str | None = None
    """The node it is on, where it is on one."""


Found = Iterator[Problem]
