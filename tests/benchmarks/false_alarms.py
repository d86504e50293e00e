"""False alarms on clean workloads: integrity and quality findings above info, counted.

    python tests/benchmarks/false_alarms.py [--seeds 10] [--first-seed 0] [--only digits,text]

One and two workers, every seed: digits, breast cancer, text, and digits with batch norm, dropout
and random augmentation, by the data set (mixed) and by the protocol's ``augment`` (augmented).
Nothing is wrong with any of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from ddp_processes import RankProcesses
from sweep_of_trials import ranked
from trial_runs import request, run_trial

from ddp_sweep.analysis import Finding, Ranking, Severity
from ddp_sweep.training.messages import RankReport, TrialRequest

_IMAGES = ((32, 64), {"accuracy": 0.02})
_WORKLOADS = {
    "digits": ("ddp_sweep.workloads.digits:Digits", {"epochs": 4}, *_IMAGES),
    "breast_cancer": ("ddp_sweep.workloads.breast_cancer:BreastCancer", {"epochs": 10}, *_IMAGES),
    "text": (
        "ddp_sweep.workloads.text:Text",
        {"samples": 1600, "optimizer": "adamw", "learning_rate": 0.002},
        (16, 32),
        {"perplexity": "2%"},
    ),
    "mixed": ("clean_workloads:Mixed", {"epochs": 4}, *_IMAGES),
    "augmented": ("clean_workloads:Augmented", {"epochs": 4}, *_IMAGES),
}
"""Workload, training, global batches and margins."""
_KINDS = {
    *("data_leakage", "unsynchronized_replicas", "wrong_gradient_averaging", "repeated_samples"),
    *("evaluation_incomplete", "unstable_training", "overfitting"),
    *("accuracy_paradox", "quality_regression"),
}
"""What is about integrity and quality; findings on speed and on the grid are not counted."""


def main() -> None:
    """Run the trials, rank those of each workload, and print the count of false alarms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(_WORKLOADS))
    arguments = parser.parse_args()
    alarms = 0
    with tempfile.TemporaryDirectory() as folder, RankProcesses(2, Path(folder)) as ranks:

        def run(workload: str, wanted: TrialRequest) -> list[RankReport]:
            reports = ranks.run(run_trial, workload, wanted)
            return [report for report in reports if report is not None]

        for name in arguments.only.split(","):
            workload, training, batches, margins = _WORKLOADS[name]
            wanted = [
                request(workload, size, batch, seed=seed, training={**training, "evaluations": 4})
                for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds)
                for size in (1, 2)
                for batch in batches
            ]
            ranking = ranked(Path(folder) / name, workload, wanted, run, margins=margins)
            alarms += _report(name, len(wanted), ranking)
    print(f"false alarms in all: {alarms}")


def _report(name: str, trials: int, ranking: Ranking) -> int:
    findings = [*ranking.findings, *(f for e in ranking.configurations for f in e.findings)]
    counted = [one for one in findings if _is_alarm(one)]
    kinds = Counter(f"{one.kind} ({one.severity})" for one in findings)
    print(f"{name}: {trials} trials, {len(counted)} false alarms; all findings: {dict(kinds)}")
    for one in counted:
        print(f"  {one.kind}: {one.message} {dict(one.evidence)}")
    return len(counted)


def _is_alarm(finding: Finding) -> bool:
    return finding.kind in _KINDS and finding.severity is not Severity.INFO


if __name__ == "__main__":
    main()
