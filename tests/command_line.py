"""The command line, called in this process as the console script calls it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ddp_sweep.cli import main

__all__ = ["Cli", "Finished", "call"]


@dataclass(frozen=True)
class Finished:
    """What a call left behind."""

    code: int
    out: str
    err: str


Cli = Callable[..., Finished]
"""Takes the arguments after ``ddp-sweep``."""


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> Finished:
    monkeypatch.setattr(sys, "argv", ["ddp-sweep", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
        raise SystemExit(0)  # as the console script does
    captured = capsys.readouterr()
    code = left.value.code
    return Finished(code if isinstance(code, int) else 0, captured.out, captured.err)
