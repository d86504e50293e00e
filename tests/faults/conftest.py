"""One Ray for the faults of a file, and after each of them: nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fault_scene
import pytest

from ddp_sweep.cluster.connection.capacity import connect
from ddp_sweep.cluster.connection.environment import quiet_driver


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the temporary files of a sweep lie."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def tag(scratch: Path) -> Iterator[str]:
    """What marks the processes of the tests of a file."""
    with fault_scene.tagged(scratch) as tag:
        yield tag


@pytest.fixture(scope="module")
def ray_of_two(
    tag: str,  # noqa: ARG001 - Ray and all that stems from it is to bear the tag
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """A Ray with room for two workers, shared by the tests of a file."""
    spec = fault_scene.sweep_over(tmp_path_factory.mktemp("none"), "none")
    with quiet_driver(), connect(None, spec):
        yield


@pytest.fixture
def nothing_left(tag: str, scratch: Path, tmp_path: Path) -> Iterator[None]:
    """Fails a test after which something of ours is still there."""
    yield
    fault_scene.nothing_is_left(tag, scratch, tmp_path / "results")
