"""How long ranking a large table takes, and how much memory: 500,000 runs from one Parquet file.

    python tests/benchmarks/rank_scale.py [--configurations 1000 10000 100000] [--seeds 5]

The table is one as `ddp-sweep run` writes it, all its columns, quality lists and bits included.
Every figure comes from a fresh process: reading and ranking by the public ``rank``, then the whole
ranking as JSON. Beside it, also in a process of its own, plain pandas: the same file, mean and
standard deviation of two columns of every configuration.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ddp_sweep.schema import TRIALS

VALIDATION_SAMPLES = 360
CLASSES = 2
MARGINS = {"accuracy": 0.01, "recall": 0.02}
FLOORS = {"recall[1]": 0.5}
BATCHES = [32, 48, 64, 96, 128, 192, 256, 384, 512, 768]
WORK = {"rank": "rank", "json": "then JSON", "pandas": "pandas groupby"}
WORLD_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


def write_trials(path: Path, configurations: int, seeds: int) -> None:
    """A table of trials with plausible figures, every column that a sweep fills filled."""
    noise = np.random.default_rng(0)
    count = configurations * seeds
    number = np.repeat(np.arange(configurations), seeds)
    seed = np.tile(np.arange(seeds), configurations)
    world_size = np.array(WORLD_SIZES)[number % 10]
    batch = np.array(BATCHES)[number // 10 % 10]
    total = world_size * batch
    samples = np.full(count, 60_000)
    seconds = 600 / world_size**0.9 * np.exp(noise.normal(0, 0.03, count))
    classes = _quality(noise, total, count)
    columns = {
        "sweep": pa.array(["scale"] * count),
        "trial_id": pa.array([f"{c:06x}{s:02x}" for c, s in zip(number, seed, strict=True)]),
        "configuration_id": pa.array([f"{c:06x}" for c in number]),
        "attempt": np.ones(count, dtype=np.int64),
        "world_size": world_size,
        "per_worker_batch_size": batch,
        "global_batch_size": total,
        "accumulation_steps": np.ones(count, dtype=np.int64),
        "seed": seed,
        "learning_rate": 0.05 * total / 64,
        "compute_precision": pa.array(["float32"] * count),
        "parameters": pa.array(
            [json.dumps({"epochs": 8, "weight_decay": 1e-4 * (c // 100)}) for c in number]
        ),
        "block": seed,
        "gang_id": pa.array([f"gang{s}" for s in seed]),
        "session_id": pa.array(["session"] * count),
        "status": pa.array(["succeeded"] * count),
        "samples": samples,
        "train_time_s": seconds,
        "eval_time_s": np.full(count, 0.5),
        "wall_time_s": seconds + 2,
        "throughput_samples_per_s": samples / seconds,
        "worker_hours": world_size * (seconds + 0.5) / 3600,
        "val_loss": 0.15 * np.exp(noise.normal(0, 0.05, count)),
        "eval_samples": np.full(count, VALIDATION_SAMPLES),
        "expected_eval_samples": np.full(count, VALIDATION_SAMPLES),
        "traces_comparable": np.zeros(count, dtype=np.bool_),
        "gradient_error": np.full(count, 1e-7),
        "other_load": np.full(count, 0.01),
        "num_nodes": np.maximum(1, world_size // 8),
        "oversubscribed": np.zeros(count, dtype=np.bool_),
        "placement": pa.array(["exclusive"] * count),
        "code_version": pa.array(["abc"] * count),
        **classes,
    }
    arrays = [
        pa.array(columns[name], type=kind) if name in columns else pa.nulls(count, kind)
        for name, kind in zip(TRIALS.names, TRIALS.types, strict=True)
    ]
    pq.write_table(pa.Table.from_arrays(arrays, schema=TRIALS), path)


def _quality(noise: np.random.Generator, total: np.ndarray, count: int) -> dict[str, object]:
    """Accuracy, recall, the confusion matrix they come from, and which samples were right."""
    positives = VALIDATION_SAMPLES // 3
    chance = np.clip(0.95 - 2e-7 * total + noise.normal(0, 0.004, count), 0.5, 1)
    right = noise.random((count, VALIDATION_SAMPLES), dtype=np.float32) < chance[:, None]
    hit = right[:, :positives].sum(axis=1)
    passed = right[:, positives:].sum(axis=1)
    negatives = VALIDATION_SAMPLES - positives
    matrix = np.stack([passed, negatives - passed, positives - hit, hit], axis=1).ravel()
    rows = pa.ListArray.from_arrays(
        np.arange(0, 4 * count + 1, CLASSES, dtype=np.int32), matrix.astype(np.int64)
    )
    per_class = np.stack([passed / negatives, hit / positives], axis=1).ravel()
    offsets = np.arange(0, CLASSES * count + 1, CLASSES, dtype=np.int32)
    return {
        "accuracy": right.mean(axis=1),
        "recall": hit / positives,
        "per_class_recall": pa.ListArray.from_arrays(offsets, per_class),
        "confusion_matrix": pa.ListArray.from_arrays(offsets, rows),
        "correct_bits": pa.array([bits.tobytes() for bits in np.packbits(right, axis=1)]),
    }


def measure_rank(path: Path) -> None:
    """Rank a file and write the ranking as JSON; prints what each took."""
    from ddp_sweep import rank
    from ddp_sweep.report.export import write

    figures: dict[str, float] = {}
    with _timed("rank", figures):
        ranking = rank(path, margins=MARGINS, floors=FLOORS)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, _timed("json", figures):
        write(ranking, "json", nowhere)
    print(json.dumps(figures | {"configurations": len(ranking.configurations)}))


def measure_pandas(path: Path) -> None:
    """What the least of a comparison costs: mean and standard deviation by configuration."""
    import pandas as pd

    figures: dict[str, float] = {}
    wanted = ["train_time_s", "accuracy"]
    with _timed("pandas", figures):
        runs = pd.read_parquet(path, columns=["configuration_id", *wanted])
        found = runs.groupby("configuration_id")[wanted].agg(["mean", "std"])
    print(json.dumps(figures | {"configurations": len(found)}))


@contextmanager
def _timed(name: str, figures: dict[str, float]) -> Iterator[None]:
    """Wall and processor time of what is done, and the most memory that the process ever held."""
    began, began_cpu = time.perf_counter(), time.process_time()
    yield
    figures[f"{name}_s"] = time.perf_counter() - began
    figures[f"{name}_cpu_s"] = time.process_time() - began_cpu
    figures[f"{name}_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_a_process(what: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", what, "--file", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Write the tables, measure, print one line each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--configurations", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--measure", choices=["rank", "pandas"])
    parser.add_argument("--file", type=Path)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        {"rank": measure_rank, "pandas": measure_pandas}[arguments.measure](arguments.file)
        return
    print(f"{'configurations':>14} {'runs':>9}  {'':16} wall time  processor  peak memory")
    with tempfile.TemporaryDirectory() as folder:
        for count in arguments.configurations:
            path = Path(folder) / f"{count}.parquet"
            write_trials(path, count, arguments.seeds)
            figures = _in_a_process("rank", path) | _in_a_process("pandas", path)
            size = f"{count:>14,} {count * arguments.seeds:>9,}"
            for key, what in WORK.items():
                print(
                    f"{size}  {what:16} {figures[f'{key}_s']:>7.2f} s  "
                    f"{figures[f'{key}_cpu_s']:>7.2f} s  {figures[f'{key}_mb']:>8.0f} MB"
                )


if __name__ == "__main__":
    main()
