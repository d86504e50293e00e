"""Optimizer steps a second: this tool's loop on warm workers against a bare torchrun DDP script.

    python tests/benchmarks/step_rate.py [--pairs 5] [--epochs 12] [--global-batch-size 64]

Same model, data, batch and threads; see ``bare_ddp.py`` for the rival. World sizes 1 and 2, in
pairs: a trial on the warm workers, then the script beside the same Ray cluster while it is idle
(an idle Ray takes some of a core). At the end the script once more for each pair, without Ray.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from ddp_sweep.cluster.connection.capacity import connect
from ddp_sweep.cluster.connection.environment import quiet_driver
from ddp_sweep.cluster.gang.gang import Gang
from ddp_sweep.cluster.gang.serving import GangSettings
from ddp_sweep.plan import Trial, build_plan
from ddp_sweep.spec import SweepSpec, parse_spec
from ddp_sweep.training.messages import TrialRequest, WorkerSetup
from ddp_sweep.training.worker import Worker

RIVAL = Path(__file__).with_name("bare_ddp.py")
WORLD_SIZES = (1, 2)


def build_spec(epochs: int, global_batch_size: int) -> SweepSpec:
    """The sweep whose trials are timed; one evaluation, at the end."""
    return parse_spec(
        {
            "name": "step_rate",
            "workload": "ddp_sweep.workloads.digits:Digits",
            "workload_options": {"channels": 16},
            "sweep": {"world_size": list(WORLD_SIZES), "global_batch_size": [global_batch_size]},
            "seeds": 1,
            "training": {
                "epochs": epochs,
                "learning_rate": 0.05,
                "learning_rate_scaling": "none",
                "evaluations": 1,
            },
        }
    )


def rival_steps_per_s(trial: Trial, epochs: int) -> float:
    """Run the bare script once."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(trial.world_size), str(RIVAL)]
    command += ["--batch-size", str(trial.per_worker_batch_size), "--epochs", str(epochs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.strip().splitlines()[-1])


def our_steps_per_s(gang: Gang, request: TrialRequest) -> float:
    """Run one trial on the warm workers."""
    outcome = gang.run(request)
    assert outcome.failure is None, outcome.failure
    report = outcome.reports[0]
    assert report.optimizer_steps and report.train_time_s
    return report.optimizer_steps / report.train_time_s


def make_gang(spec: SweepSpec, storage: Path) -> Gang:
    """Workers for all world sizes."""
    setup = WorkerSetup(
        workload=spec.workload,
        base_dir=None,
        world_sizes=WORLD_SIZES,
        device_type="cpu",
        threads=1,
    )
    settings = GangSettings(
        world_size=max(WORLD_SIZES),
        setup=setup,
        worker_factory=Worker,
        resources_per_worker={"CPU": 1},
        placement_strategy="PACK",
        start_timeout_s=120,
        stall_timeout_s=120,
        storage=storage,
    )
    return Gang(settings, "step-rate")


def measure(
    gang: Gang, spec: SweepSpec, pairs: int, epochs: int
) -> dict[int, list[tuple[float, float]]]:
    """Pairs of (ours, the rival's beside the idle cluster) by world size."""
    trials = build_plan(spec, capacity=None, train_lengths=1437).trials
    requests = {
        trial.world_size: TrialRequest(
            trial=trial, attempt=1, data=spec.data, quality=spec.quality, probes=spec.probes
        )
        for trial in trials
    }
    for request in requests.values():
        our_steps_per_s(gang, request)
    return {
        size: [
            (our_steps_per_s(gang, request), rival_steps_per_s(request.trial, epochs))
            for _ in range(pairs)
        ]
        for size, request in sorted(requests.items())
    }


def main() -> None:
    """Run all and print the figures side by side."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--global-batch-size", type=int, default=64)
    arguments = parser.parse_args()
    spec = build_spec(arguments.epochs, arguments.global_batch_size)
    with quiet_driver(), tempfile.TemporaryDirectory() as storage, connect(None, spec):
        gang = make_gang(spec, Path(storage))
        failure = gang.start()
        assert failure is None, failure
        beside = measure(gang, spec, arguments.pairs, arguments.epochs)
        gang.close()
    trials = build_plan(spec, capacity=None, train_lengths=1437).trials
    alone: dict[int, list[float]] = {
        trial.world_size: [
            rival_steps_per_s(trial, arguments.epochs) for _ in range(arguments.pairs)
        ]
        for trial in trials
    }
    print("optimizer steps a second, medians; ratios are medians of the pairs")
    for size, pairs in beside.items():
        ours = [one for one, _ in pairs]
        print(
            f"{size} worker(s): ddp-sweep {median(ours):.1f}; bare script beside the idle cluster "
            f"{median(other for _, other in pairs):.1f}, without it {median(alone[size]):.1f}"
        )
        ratio = median(one / other for one, other in pairs)
        print(
            f"   ratio beside the idle cluster {ratio:.3f} (aim: at least 1.0), "
            f"without it {median(ours) / median(alone[size]):.3f}"
        )


if __name__ == "__main__":
    main()
