"""Times in the unit a person would use."""

from __future__ import annotations

__all__ = ["duration"]


def duration(seconds: float) -> str:
    """A time in the unit a person would use.

    Examples:
        >>> duration(2.34), duration(42), duration(90), duration(5400)
        ('2.3 s', '42 s', '1.5 min', '1.5 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
