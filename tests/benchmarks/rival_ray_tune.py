"""The rival of trial_overhead.py: Ray's documented way to sweep over distributed training runs.

    python rival_ray_tune.py --seeds 3 --epochs 8

After "Hyperparameter Tuning with Ray Tune" of Ray Train's user guides: a Tune function trial
builds a TorchTrainer and calls fit. Nothing of ddp_sweep is imported. Tuned as far as settings go:
Tune's loggers are off, the driver function of a trial takes next to no CPU, the worker group is
polled ten times as often, the process group is given up after 3 s, one trial runs at a time (two
would disturb each other's times), data in memory, a single worker trains without DDP.

Prints one JSON object: trials, seconds of the whole sweep (without ``ray.init``), and of the
training and evaluation in it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from typing import Any

SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "3",
}
os.environ.update(SETTINGS)

import ray  # noqa: E402
import ray.train  # noqa: E402
import ray.train.torch  # noqa: E402
import ray.tune  # noqa: E402
from ray.tune.integration.ray_train import TuneReportCallback  # noqa: E402


def train_fn_per_worker(config: dict[str, Any]) -> None:
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(1)
    torch.manual_seed(config["seed"])
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16.0, labels, test_size=360, stratify=labels, random_state=0)
    train_x, val_x, train_y, val_y = (torch.from_numpy(part) for part in parts)
    train_set = TensorDataset(train_x.float().view(-1, 1, 8, 8), train_y)
    val_x = val_x.float().view(-1, 1, 8, 8)
    model: nn.Module = nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    world_size = ray.train.get_context().get_world_size()
    loader = DataLoader(train_set, batch_size=config["batch_size"] // world_size, shuffle=True)
    if world_size > 1:
        model = ray.train.torch.prepare_model(model)
        loader = ray.train.torch.prepare_data_loader(loader)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    seconds = 0.0
    for epoch in range(config["epochs"]):
        began = time.perf_counter()
        if world_size > 1:
            loader.sampler.set_epoch(epoch)
        for inputs, targets in loader:
            optimizer.zero_grad()
            criterion(model(inputs), targets).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            accuracy = (model(val_x).argmax(dim=1) == val_y).float().mean().item()
        model.train()
        seconds += time.perf_counter() - began
    ray.train.report({"accuracy": accuracy, "train_and_eval_s": seconds})


def train_driver_fn(config: dict[str, Any]) -> None:
    trainer = ray.train.torch.TorchTrainer(
        train_fn_per_worker,
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(num_workers=config["world_size"]),
        run_config=ray.train.RunConfig(
            name=f"train-{ray.tune.get_context().get_trial_id()}",
            storage_path=config["storage"],
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    ray.init(
        # One more than the workers take: the driver functions need a little.
        num_cpus=3,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": SETTINGS},
    )
    with tempfile.TemporaryDirectory() as storage:
        tuner = ray.tune.Tuner(
            ray.tune.with_resources(train_driver_fn, {"CPU": 0.001}),
            param_space={
                "world_size": ray.tune.grid_search([1, 2]),
                "batch_size": ray.tune.grid_search([64, 128]),
                "seed": ray.tune.grid_search(list(range(arguments.seeds))),
                "epochs": arguments.epochs,
                "storage": storage,
            },
            tune_config=ray.tune.TuneConfig(max_concurrent_trials=1),
            run_config=ray.tune.RunConfig(name="sweep", storage_path=storage, verbose=0),
        )
        began = time.perf_counter()
        results = tuner.fit()
        seconds = time.perf_counter() - began
        if results.errors:
            raise SystemExit(f"{len(results.errors)} trials failed: {results.errors[0]}")
        work = [result.metrics["train_and_eval_s"] for result in results if result.metrics]
    print(json.dumps({"trials": len(work), "sweep_s": seconds, "work_s": sum(work)}))


if __name__ == "__main__":
    main()
