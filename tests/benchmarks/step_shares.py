"""Where the time of a step goes on two workers: digits, small and large batches, a slow link.

    python tests/benchmarks/step_shares.py [--epochs 8] [--rate 50mbit]

Batches are those of a worker. The link is one between two network namespaces, which needs root;
without --rate it is left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from ddp_processes import RankProcesses
from network_namespaces import TwoHosts
from sweep_of_trials import ranked
from trial_runs import request, run_trial
from trials_frame import find
from two_host_trials import run_on

from ddp_sweep.training.messages import RankReport, TrialRequest

_WORKLOAD = "ddp_sweep.workloads.digits:Digits"


def main() -> None:
    """Run the trials and print the findings with their shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rate")
    arguments = parser.parse_args()
    for batch in (8, 256):
        wanted = _wanted(batch, arguments.epochs)
        with tempfile.TemporaryDirectory() as folder, RankProcesses(2, Path(folder)) as ranks:
            reports = [ranks.run(run_trial, _WORKLOAD, one) for one in wanted]
        _print(f"batch {batch}", wanted, reports)
    if arguments.rate:
        # Wide enough that a step sends more than the link lets through in one burst.
        wanted = _wanted(32, 2, {"channels": 48})
        with tempfile.TemporaryDirectory() as folder, TwoHosts(arguments.rate) as hosts:
            _print(arguments.rate, wanted, run_on(hosts, Path(folder), _WORKLOAD, wanted))


def _wanted(batch: int, epochs: int, options: dict[str, int] | None = None) -> list[TrialRequest]:
    """One worker and two, the same batch of a worker; each twice, the first to warm up."""
    training = {"epochs": epochs, "evaluations": 1}
    return [
        request(_WORKLOAD, workers, workers * batch, seed=seed, options=options, training=training)
        for seed in (0, 1)
        for workers in (1, 2)
    ]


def _print(
    title: str, wanted: Sequence[TrialRequest], reports: Sequence[Sequence[RankReport | None]]
) -> None:
    runs: Iterator[list[RankReport]] = iter(
        [report for report in own if report is not None] for own in reports[2:]
    )
    with tempfile.TemporaryDirectory() as folder:
        ranking = ranked(Path(folder) / "results", _WORKLOAD, wanted[2:], lambda *_: next(runs))
    found = [f for f in find(ranking, 2).findings if f.kind == "low_speedup"]
    print(f"== {title}")
    for finding in found:
        shares = finding.evidence["shares"]
        measured = finding.evidence["step_time_s"]
        explained = finding.evidence["explained_step_time_s"]
        print(finding.message)
        print({name: round(share, 3) for name, share in shares.items()})
        print(f"sum of shares {sum(shares.values()):.3f}; explained {explained / measured:.3f}")
        print(f"speedup {finding.evidence['speedup']:.2f}, cause {finding.evidence['cause']}")
    if not found:
        print("no low speedup")


if __name__ == "__main__":
    main()
