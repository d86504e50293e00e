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

    Those of this tool and of the import system are left out, and those of torch unless there are
    no others.
    """
    kept = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(_BUNDLED)
        or not frame.filename.startswith((_OURS, _IMPORTS, "<frozen"))
    ]
    users = [frame for frame in kept if not frame.filename.startswith(_TORCH)]
    shown = (users or kept)[-frames:]
    lines = traceback.format_list(shown) + traceback.format_exception_only(error)
    return "".join(lines).rstrip()
