"""What every test on GPUs needs; where there is none, each is skipped and says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from ddp_processes import RankProcesses


@pytest.fixture(autouse=True)
def _gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("this machine has no GPU that PyTorch can use")


@pytest.fixture(scope="session")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RankProcesses]:
    """A process for each GPU of this machine, up to four, over NCCL."""
    if not torch.cuda.is_available():
        pytest.skip("this machine has no GPU that PyTorch can use")
    size = min(4, torch.cuda.device_count())
    with RankProcesses(size, tmp_path_factory.mktemp("ranks"), backend="nccl") as processes:
        yield processes
