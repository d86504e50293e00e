"""An exchange among processes of this machine, and of a single one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ddp

RANK = Path(__file__).parents[2] / "rank_of_exchange.py"


@pytest.mark.parametrize("world_size", [1, 3])
def test_all_ranks_measure_the_same_and_one_alone_no_bandwidth(world_size: int) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        meeting_point = f"127.0.0.1:{found.getsockname()[1]}"
    command = [sys.executable, str(RANK), "127.0.0.1"]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(world_size), meeting_point],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size)
    ]
    said = [json.loads(process.communicate(timeout=200)[0]) for process in processes]

    first = said[0]
    assert said == [first] * world_size
    assert first["latency_s"] > 0
    if world_size == 1:
        assert first["bandwidth_bit_per_s"] is None
    else:
        assert first["bandwidth_bit_per_s"] > 0
        assert first["message_bytes"].bit_count() == 1
