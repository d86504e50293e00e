"""The rival of step_rate.py: a plain DDP script, as PyTorch's tutorial has it.

    torchrun --nproc-per-node 2 bare_ddp.py --batch-size 32 --epochs 8

Nothing of ddp_sweep is imported. Tuned: threads are set, a single worker trains without DDP, data
in memory, no logging, no evaluation, one warm-up epoch that is not timed. Prints the optimizer
steps of rank 0 a second.
"""

from __future__ import annotations

import argparse
import os
import time

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def build_model(channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, channels, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * channels * 16, 10),
    )


def build_data() -> TensorDataset:
    images, labels = load_digits(return_X_y=True)
    images, _, labels, _ = train_test_split(
        images / 16.0, labels, test_size=360, stratify=labels, random_state=0
    )
    return TensorDataset(
        torch.from_numpy(images).float().view(-1, 1, 8, 8), torch.from_numpy(labels)
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, required=True, help="of one worker")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    world_size = int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = build_model(arguments.channels)
    if world_size > 1:
        model = DistributedDataParallel(model)
    dataset = build_data()
    sampler = DistributedSampler(dataset, shuffle=True)
    loader = DataLoader(dataset, batch_size=arguments.batch_size, sampler=sampler)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    def run_epoch(epoch: int) -> None:
        sampler.set_epoch(epoch)
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()

    model.train()
    run_epoch(0)
    dist.barrier()
    began = time.perf_counter()
    for epoch in range(1, arguments.epochs + 1):
        run_epoch(epoch)
    dist.barrier()
    seconds = time.perf_counter() - began
    if dist.get_rank() == 0:
        print(f"{arguments.epochs * len(loader) / seconds:.3f}")
    # Ranks that leave at different times can abort one another.
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
