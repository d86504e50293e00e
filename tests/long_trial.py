"""A trial that lasts some seconds, takes checkpoints and tells what it really did.

Also a program: ``python long_trial.py RESULTS NOTES`` runs a sweep of this one trial, as a process
of its own that a test can kill.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from ddp_sweep import Binary, SweepSpec, run_sweep
from ddp_sweep.spec import parse_spec

__all__ = ["STEPS", "LongTrial", "sweep"]

STEPS = 160
_STEP_S = 0.04


class _Notes:
    """Takes the place of a scheduler, and so notes every step that the training makes."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / str(os.getpid())
        self._done = 0

    def step(self) -> None:
        self._done += 1
        if not dist.is_initialized():
            return  # the driver, which looks the workload over
        with self._file.open("a") as file:
            file.write(f"{self._done}\n")
        time.sleep(_STEP_S)

    def state_dict(self) -> dict[str, Any]:
        return {"done": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._done = state["done"]


class LongTrial:
    """Batch norm and dropout; notes in files of a folder, one a process, which steps it made."""

    task = Binary()

    def __init__(self, notes: str) -> None:
        self._notes = Path(notes)

    def build_model(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1)
        )

    def build_data(self) -> tuple[Dataset[Any], Dataset[Any]]:
        rng = np.random.default_rng(0)
        labels = torch.from_numpy(rng.integers(0, 2, 240))
        points = torch.from_numpy(rng.normal(size=(240, 6))).float() + labels[:, None]
        return TensorDataset(points[:160], labels[:160]), TensorDataset(points[160:], labels[160:])

    def build_scheduler(self, _optimizer: torch.optim.Optimizer, _total_steps: int) -> _Notes:
        return _Notes(self._notes)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(
            outputs[:, 0], targets.float(), reduction="none"
        )


def sweep(notes: Path, checkpoint_every_s: float | None) -> SweepSpec:
    return parse_spec(
        {
            "name": "long",
            "workload": f"{Path(__file__).resolve()}:LongTrial",
            "workload_options": {"notes": str(notes)},
            "sweep": {"world_size": [2], "per_worker_batch_size": [8]},
            "seeds": 1,
            "training": {
                "epochs": STEPS / 10,
                "learning_rate": 0.05,
                "reference_batch_size": 16,
                "evaluations": 4,
            },
            "resources": {"checkpoint_every_s": checkpoint_every_s},
        }
    )


if __name__ == "__main__":
    ended = run_sweep(sweep(Path(sys.argv[2]), 0.3), output=sys.argv[1], progress="plain")
    print(ended.message)
    sys.exit(ended.exit_code)
