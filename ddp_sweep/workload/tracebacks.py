"""The part of an error's traceback that a user can do something about."""

from __future__ import annotations

import importlib
import os
import traceback
from pathlib import Path

import torch

__all__ = ["user_traceback"]

_PACKAGE = Path(__file__).parents[1]

# Folders of files whose lines are left out of a user's traceback.
_OURS, _IMPORTS, _TORCH = (
    str(folder) + os.sep
    for folder in (_PACKAGE, Path(importlib.__file__).parent, Path(torch.__file__).parent)
)
_BUNDLED = str(_PACKAGE / "workloads") + os.sep


def user_traceback(error: BaseException, *, frames: int = 5) -> str:
    """The last frames of an error's traceback that a user can do something about.

    Those of this tool, of the import system and of torch are left out: where a plain model of
    torch's layers is at fault, what the error itself says remains.
    """
    kept = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(_BUNDLED)
        or not frame.filename.startswith((_OURS, _IMPORTS, _TORCH, "<frozen"))
    ]
    lines = traceback.format_list(kept[-frames:]) + traceback.format_exception_only(error)
    return "".join(lines).rstrip()
