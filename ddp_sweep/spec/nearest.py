"""The message for a name that does not exist: the nearest valid one, and all of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["unknown_name"]


def unknown_name(what: str, name: str, allowed: Iterable[str]) -> str:
    """Say that ``name`` is unknown, which name is nearest to it and which exist.

    Examples:
        >>> unknown_name("key", "epochz", ["epochs", "samples"])
        'unknown key; did you mean "epochs"? allowed: epochs, samples'
        >>> unknown_name("key", "banana", ["epochs", "samples"])
        'unknown key; allowed: epochs, samples'
    """
    names = list(allowed)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    return f"unknown {what}; {hint}allowed: {', '.join(names)}"
