"""Scratch folders go with their run, and those of killed runs with the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ddp_sweep.cluster.driver.scratch import scratch_folder

KILLED = """
import os, signal
from ddp_sweep.cluster.driver.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "sweep").mkdir()
    (folder / "sweep" / "state.json").write_text("{}")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of the folder for temporary files of this machine."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_scratch_folder_is_there_for_as_long_as_it_is_used(temporary: Path) -> None:
    with scratch_folder() as folder:
        assert folder.parent == temporary
        (folder / "progress-1.json").write_text("{}")
    assert list(temporary.iterdir()) == []


def test_what_a_killed_run_left_goes_with_the_next_one_and_nothing_else(temporary: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED],
        env=os.environ | {"TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = Path(killed.stdout.strip())
    assert left.parent == temporary
    assert (left / "sweep" / "state.json").exists()
    strange = [temporary / name for name in ("ddp-sweep-mine", "ddp-sweep-output-1", "notes")]
    for folder in strange:
        folder.mkdir()
    with scratch_folder() as first, scratch_folder() as second:
        assert first != second
        assert set(temporary.iterdir()) == {*strange, first, second}
    assert set(temporary.iterdir()) == set(strange)


def test_what_another_machine_uses_stays_until_it_has_been_silent_for_long(
    temporary: Path,
) -> None:
    used, given_up = (temporary / f"ddp-sweep-0123abcd-{number}-x" for number in (1, 2))
    for folder in (used, given_up):
        folder.mkdir()
    os.utime(given_up, (0, 0))
    with scratch_folder():
        assert used.exists()
        assert not given_up.exists()
