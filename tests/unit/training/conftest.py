"""Ranks that all tests of this folder share: starting them takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ddp_processes import RankProcesses


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RankProcesses]:
    """Three processes, for world sizes 1 to 3."""
    with RankProcesses(3, tmp_path_factory.mktemp("ranks")) as processes:
        yield processes
