"""A small sweep whose second trial waits until a gate is opened: one can look meanwhile."""

from __future__ import annotations

import textwrap
from pathlib import Path

__all__ = ["write_gated_sweep"]

MODEL = """
import time
from pathlib import Path

import torch
from parts.layers import make_model
from sklearn.datasets import load_breast_cancer
from torch.utils.data import TensorDataset, random_split

import ddp_sweep

TRAINED = []


class Mine:
    task = ddp_sweep.Binary(positive=0)

    def __init__(self, gate: Path, fault: bool = False):
        self.gate, self.fault = gate, fault

    def build_model(self):
        return make_model()

    def build_data(self):
        x, y = (torch.from_numpy(part) for part in load_breast_cancer(return_X_y=True))
        data = TensorDataset(((x - x.mean(0)) / x.std(0)).float(), y)
        return random_split(data, [0.8, 0.2], generator=torch.Generator().manual_seed(0))

    def loss(self, outputs, targets):
        if self not in TRAINED:
            TRAINED.append(self)
        deadline = time.monotonic() + 600
        while len(TRAINED) > 1 and (self.gate / "closed").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        if self.fault and torch.is_grad_enabled() and len(outputs) > 8:
            raise RuntimeError("this loss cannot be had")
        return torch.nn.functional.binary_cross_entropy_with_logits(
            outputs.squeeze(-1), (targets == 0).float(), reduction="none"
        )
"""
LAYERS = """
import torch


def make_model():
    return torch.nn.Linear(30, 1)
"""
SWEEP = """
name: tumours
workload: model.py:Mine
workload_options: {{gate: {gate}}}
sweep:
  world_size: {world_sizes}
  global_batch_size: {batch_sizes}
seeds: 1
training: {{epochs: 1, learning_rate: 0.05, reference_batch_size: 32, evaluations: 2}}
quality:
  margins: {{accuracy: 0.05}}
resources: {{device: cpu, stall_timeout_s: 900}}
"""


def write_gated_sweep(
    folder: Path, *, world_sizes: str = "[1, 2]", batch_sizes: str = "[32]"
) -> Path:
    """Write ``sweep.yaml``, its code in two folders, a module that nothing imports, and the gate.

    Returns:
        The file that closes the gate as long as it is there.
    """
    gate = folder / "gate"
    settings = {"gate": gate, "world_sizes": world_sizes, "batch_sizes": batch_sizes}
    files = {
        "sweep.yaml": SWEEP.format(**settings),
        "model.py": MODEL,
        "parts/__init__.py": "",
        "parts/layers.py": LAYERS,
        "unused.py": "raise ImportError('must not travel')\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    gate.mkdir()
    return gate / "closed"
