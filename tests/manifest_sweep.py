"""A sweep with a workload of its own, as one for which a manifest is printed."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_sweep"]

SWEEP = """
name: {name}
workload: model.py:Mine
sweep:
  world_size: {world_sizes}
  global_batch_size: [64]
training: {{epochs: 1, learning_rate: 0.1}}
resources: {{device: {device}, gpus_per_worker: 2, cpus_per_worker: 3}}
"""


def write_sweep(
    scratch: Path, *, name: str = "own", world_sizes: str = "[1, 2, 4]", device: str = "gpu"
) -> Path:
    """The sweep file, in a folder below one that may hold an earlier one."""
    folder = scratch / "my sweeps"
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text("import parts.layers\n\n\nclass Mine:\n    x = 'é: #'\n")
    (folder / "parts" / "layers.py").write_text("WIDTH = 3\n\n\n")
    sweep = folder / "sweep.yaml"
    sweep.write_text(SWEEP.format(name=name, world_sizes=world_sizes, device=device))
    return sweep
