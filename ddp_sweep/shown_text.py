"""Text that users' code has made, on its way to a terminal.

Messages of exceptions, names of classes and options of workloads may hold anything. On a terminal
an escape sequence could move the cursor, rename the window or hide what stands before it.
"""

from __future__ import annotations

import re

__all__ = ["harmless", "shown"]

_NOT_SHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, but for the tab and the end of a line
    "\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of text round
    "\u2028\u2029\ud800-\udfff]"  # ends of lines to some, and halves of characters
)


_SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-Z\\-~])"
)
"""Escape sequences of terminals: colours, cursor movements, titles."""


def harmless(text: str) -> str:
    r"""The text without escape sequences, and with what else a terminal obeys written out.

    For what programs print: their colours are no part of what they say.

    Examples:
        >>> harmless("\x1b[31mred\x1b[0m and \x07 bell")
        'red and \\x07 bell'
    """
    return shown(_SEQUENCE.sub("", text))


def shown(text: str) -> str:
    r"""The same text, with what a terminal would obey written out.

    Examples:
        >>> print(shown("loss \x1b[2J\r is 3"))
        loss \x1b[2J\x0d is 3
    """
    return _NOT_SHOWN.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
