"""Workloads with one planted fault each; what is planted is known to the last sample."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from ddp_sweep import LossSum
from ddp_sweep.workloads.digits import Digits


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


class Leaky(Digits):
    """``copies`` training rows stand among the validation rows as well."""

    def __init__(self, copies: int, channels: int = 4, listed: bool = False) -> None:
        super().__init__(channels)
        self.copies = copies
        self.listed = listed

    def build_data(self) -> Any:
        train, validation = super().build_data()
        leaked = [
            torch.cat([own, other[: self.copies]])
            for own, other in zip(validation.tensors, train.tensors, strict=True)
        ]
        if self.listed:  # through subsets, so that samples come one by one
            rows = Subset(train, range(self.copies))
            return ConcatDataset([train]), ConcatDataset([validation, rows])
        return train, TensorDataset(*leaked)


class _Stepped(torch.optim.SGD):
    """Moves one parameter by a rank's own amount at every step."""

    drift = 0.0

    def step(self, closure: Any = None) -> Any:
        done = super().step(closure)
        with torch.no_grad():
            self.param_groups[0]["params"][-1].add_(self.drift * _rank())
        return done


class SteppedOutside(Digits):
    """The last bias is moved apart by ``drift`` at every step, beside the averaged gradient."""

    def __init__(self, drift: float, channels: int = 4) -> None:
        super().__init__(channels)
        self.drift = drift

    def build_optimizer(self, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        optimizer = _Stepped(model.parameters(), lr=learning_rate)
        optimizer.drift = self.drift
        return optimizer


class _Counting(nn.Module):
    """A buffer in which every rank keeps a number of its own while it trains."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("offset", torch.zeros(1))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.inner(inputs)
        if self.training:
            with torch.no_grad():
                self.offset.fill_(float(_rank()))  # type: ignore[operator]
        return outputs


class OwnBuffer(Digits):
    """Equal parameters, but a buffer whose value is the rank; with batch norm beside it."""

    def build_model(self) -> nn.Module:
        return _Counting(nn.Sequential(nn.BatchNorm2d(1), super().build_model()))


def _summed(_state, bucket):  # noqa: ANN001, ANN202 - DDP refuses annotations that are text
    gradients = bucket.buffer()
    dist.all_reduce(gradients)
    done: torch.futures.Future[Tensor] = torch.futures.Future()
    done.set_result(gradients)
    return done


class Summed(Digits):
    """A communication hook adds the gradients of all ranks up and forgets to divide."""

    def training_step(self, model: nn.Module, batch: Any) -> LossSum:
        if isinstance(model, DistributedDataParallel) and not hasattr(model, "hooked"):
            model.register_comm_hook(None, _summed)
            model.hooked = True  # type: ignore[assignment]
        losses = self.loss(model(batch[0]), batch[1])
        return LossSum(losses.sum(), len(losses))


class Heavier(Digits):
    """Rank 1's samples weigh ``times`` as much as rank 0's."""

    def __init__(self, times: float, channels: int = 4) -> None:
        super().__init__(channels)
        self.times = times

    def training_step(self, model: nn.Module, batch: Any) -> LossSum:
        weight = self.times if _rank() == 1 else 1.0
        losses = self.loss(model(batch[0]), batch[1])
        return LossSum(losses.sum() * weight, len(losses) * weight)


class Sleepy(Digits):
    """Rank 1 sleeps in every step that it trains with others."""

    def __init__(self, seconds: float, channels: int = 4) -> None:
        super().__init__(channels)
        self.seconds = seconds

    def training_step(self, model: nn.Module, batch: Any) -> LossSum:
        if isinstance(model, DistributedDataParallel) and _rank() == 1:
            time.sleep(self.seconds)
        losses = self.loss(model(batch[0]), batch[1])
        return LossSum(losses.sum(), len(losses))


class _SlowRows(Dataset[Any]):
    def __init__(self, rows: Dataset[Any], seconds: float) -> None:
        self._rows, self._seconds = rows, seconds

    def __len__(self) -> int:
        return len(self._rows)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        if dist.is_initialized() and self._seconds:
            time.sleep(self._seconds)
        return self._rows[index]


class SlowData(Digits):
    """Every training sample takes ``seconds`` to load."""

    def __init__(self, seconds: float, channels: int = 4) -> None:
        super().__init__(channels)
        self.seconds = seconds

    def build_data(self) -> Any:
        train, validation = super().build_data()
        return _SlowRows(Subset(train, range(128)), self.seconds), validation
