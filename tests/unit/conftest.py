"""Fixtures of several test files."""

from __future__ import annotations

from functools import partial

import pytest
from command_line import Cli, call


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return partial(call, monkeypatch, capsys)
