"""Trials whose two ranks run on two hosts."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

from network_namespaces import INTERFACE, TwoHosts

from ddp_sweep.training.messages import RankReport, TrialRequest

__all__ = ["run_on"]

_PROGRAM = Path(__file__).with_name("rank_of_two.py")
_DEADLINE_S = 300


def run_on(
    hosts: TwoHosts, folder: Path, workload: str, wanted: Sequence[TrialRequest]
) -> list[list[RankReport]]:
    """Run trials of one workload in order; the reports of the ranks of each."""
    requests = folder / "wanted.pickle"
    requests.write_bytes(pickle.dumps([(workload, request) for request in wanted]))
    outputs = [folder / f"reports{rank}.pickle" for rank in (0, 1)]
    processes = [
        hosts.start(
            rank,
            [
                *(sys.executable, str(_PROGRAM), str(rank)),
                *(f"{hosts.addresses[0]}:29511", str(requests), str(output)),
            ],
            environment={"GLOO_SOCKET_IFNAME": INTERFACE},
        )
        for rank, output in enumerate(outputs)
    ]
    try:
        said = [process.communicate(timeout=_DEADLINE_S)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    by_rank = [pickle.loads(output.read_bytes()) for output in outputs]
    return [
        [report for report in reports if report is not None]
        for reports in zip(*by_rank, strict=True)
    ]
