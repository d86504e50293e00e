"""What every test run must leave behind: no process."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import psutil
import pytest

# Machines that run tests are busy, so no test is about time; the same examples every time, so that
# a change is judged by what it changes.
hypothesis.settings.register_profile("ddp_sweep", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.load_profile("ddp_sweep")

ENDING_S = 20.0
"""How long helper processes may take to end after what started them has."""


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered of earlier try-outs must neither be read nor written by a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """Fails the last test if a process that some test started still runs after all of them."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    started = [
        child
        for child in psutil.Process().children(recursive=True)
        if child.pid not in before and not _lasts_as_long_as_python(child)
    ]
    _, left = psutil.wait_procs(started, timeout=ENDING_S)
    assert not left, "still running after the tests: " + "; ".join(map(_describe, left))


def _lasts_as_long_as_python(process: psutil.Process) -> bool:
    """True for the one helper that multiprocessing keeps until the interpreter itself ends."""
    return "multiprocessing.resource_tracker" in _describe(process)


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())}"
    except psutil.Error:
        return f"{process.pid} (ended)"
