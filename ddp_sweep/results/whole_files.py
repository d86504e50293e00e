"""Small files of a results folder that appear whole or not at all."""

from __future__ import annotations

import io
import os
from pathlib import Path

from ruamel.yaml import YAML

__all__ = ["write_whole", "yaml_text"]

_NEVER_FOLD = 2**16
"""Columns of a line: a command that is folded cannot be pasted."""


def write_whole(target: Path, text: str) -> None:
    """Write a file under another name, flush it to the disk and rename it.

    Raises:
        OSError: The disk is full, or the folder cannot be written to.
    """
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def yaml_text(value: object) -> str:
    """Plain values as YAML in the order they have; text of users is quoted where it must be.

    Examples:
        >>> print(yaml_text({"b": "yes: no", "a": [1]}), end="")
        b: 'yes: no'
        a:
        - 1
    """
    text, yaml = io.StringIO(), YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = _NEVER_FOLD
    yaml.dump(value, text)
    return text.getvalue()
