"""Text of others, made safe to print on a terminal."""

from __future__ import annotations

import re

__all__ = ["harmless"]

_SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-Z\\-~])"
)
"""Escape sequences of terminals: colours, cursor movements, titles."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters, but for tabs and line ends, and those that turn the direction of text."""


def harmless(text: str) -> str:
    r"""The text without what would steer a terminal.

    Examples:
        >>> harmless("\x1b[31mred\x1b[0m and \x07 bell")
        'red and \\x07 bell'
    """
    return _CONTROL.sub(_shown, _SEQUENCE.sub("", text))


def _shown(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
