"""How `ddp-sweep doctor` ends where it is asked for what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import call


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--address", "127.0.0.1:1"], 3, "no cluster at 127.0.0.1:1"),
        (["--address", "ray://127.0.0.1:10001"], 2, "is not supported"),
        (["missing.yaml"], 2, "missing.yaml"),
    ],
)
def test_what_is_not_there_is_one_message(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = call(monkeypatch, capsys, "doctor", *words)

    assert ended.code == code
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert list(tmp_path.iterdir()) == []
