"""Workloads for tests: each shows one thing that real ones do, or do wrong."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ddp_sweep import Binary, EvaluationOutput, LossSum, Metric, Multiclass, Regression
from ddp_sweep.workloads.digits import Digits


class OddDigits(Digits):
    """997 images: neither they nor the last of their batches can be divided by 2 or 3."""

    def build_data(self) -> tuple[TensorDataset, TensorDataset]:
        train, validation = super().build_data()
        return TensorDataset(*(tensor[:997] for tensor in train.tensors)), validation


class _Listed(Dataset[tuple[Tensor, int]]):
    """The rows of a TensorDataset, one at a time."""

    def __init__(self, rows: TensorDataset) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self._rows[index]
        return image, int(label)


class ListedDigits(OddDigits):
    """The same through a data set of one's own and a ``collate``: dictionaries of tensors."""

    def build_data(self) -> Any:
        train, validation = super().build_data()
        return _Listed(train), _Listed(validation)

    def collate(self, samples: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
        images, labels = zip(*samples, strict=True)
        return {"images": torch.stack(images), "labels": torch.tensor(labels)}

    def training_step(self, model: nn.Module, batch: dict[str, Tensor]) -> LossSum:
        losses = self.loss(model(batch["images"]), batch["labels"])
        return LossSum(losses.sum(), len(losses))

    def evaluation_step(self, model: nn.Module, batch: dict[str, Tensor]) -> EvaluationOutput:
        outputs, labels = model(batch["images"]), batch["labels"]
        losses = self.loss(outputs, labels)
        return EvaluationOutput(
            losses.double().sum(), len(losses), labels, scores=outputs.double().softmax(1)
        )


def given_outputs(kind: str, samples: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """What the model of ``Given`` returns for its validation set, and the truth."""
    rng = np.random.default_rng([seed, samples])
    if kind.startswith("binary"):
        targets = (rng.permutation(samples) % 3 == 0).astype(np.int64)
        # Halves, so that some logits are equal, also between the classes.
        return np.round(2 * rng.normal(targets - 0.7, 1.2)) / 2, targets
    if kind == "regression":
        targets = 1e8 + rng.normal(size=samples)
        return targets + rng.normal(0.1, 0.5, samples), targets
    labels = [0, 1, 2, 3, 5] if kind == "missing" else range(6)
    targets = rng.permutation(np.resize(labels, samples))
    logits = rng.normal(size=(samples, 6)) + 1.5 * np.eye(6)[targets]
    if kind == "missing":
        logits[:, 2] = -15.0
    return logits, targets.astype(np.int64)


class _Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.factor


class Given:
    """A model whose outputs are known beforehand, as long as the learning rate is next to 0."""

    def __init__(self, kind: str, samples: int, seed: int = 0) -> None:
        self.data = given_outputs(kind, samples, seed)
        self.task: Binary | Multiclass | Regression
        if kind == "regression":
            self.task = Regression()
        elif kind.startswith("binary"):
            self.task = Binary(positive=int(kind.removeprefix("binary")))
        else:
            self.task = Multiclass(6)

    def build_model(self) -> nn.Module:
        return _Scale()

    def build_data(self) -> tuple[TensorDataset, TensorDataset]:
        data = TensorDataset(*map(torch.from_numpy, self.data))
        return data, data

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if isinstance(self.task, Regression):
            return (outputs - targets).square()
        if isinstance(self.task, Binary):
            return functional.binary_cross_entropy_with_logits(
                outputs, targets.to(outputs.dtype), reduction="none"
            )
        return functional.cross_entropy(outputs, targets, reduction="none")


class _Blobs:
    """Two classes of points; the base of what follows."""

    task = Binary()

    def build_model(self) -> nn.Module:
        return nn.Linear(6, 1)

    def build_data(self) -> Any:
        rng = np.random.default_rng(0)
        labels = torch.from_numpy(rng.integers(0, 2, 101))
        points = torch.from_numpy(rng.normal(size=(101, 6))).float() + labels[:, None]
        return TensorDataset(points, labels), TensorDataset(points[:41], labels[:41])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(
            outputs[:, 0], targets.float(), reduction="none"
        )


class _Jittered(TensorDataset):
    """Random augmentation with a generator of its own, as many data sets have one."""

    def __init__(self, *tensors: Tensor) -> None:
        super().__init__(*tensors)
        self._rng = np.random.default_rng(0)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        point, label = (tensor[index] for tensor in self.tensors)
        return point + torch.from_numpy(self._rng.normal(size=6)).float(), label


class Layers(_Blobs):
    """A model with or without what makes a sample's gradient depend on chance or on others."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def build_model(self) -> nn.Module:
        last = nn.Linear(8, 1)
        between: list[nn.Module] = [nn.ReLU()]
        if "batch_norm" in self.kind:
            between = [nn.BatchNorm1d(8), nn.ReLU()]
        if "dropout" in self.kind:
            between.append(nn.Dropout(0.3))
        if "zero" in self.kind:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        return nn.Sequential(nn.Linear(6, 8), *between, last)

    def build_data(self) -> Any:
        train, validation = super().build_data()
        return _Jittered(*train.tensors) if self.kind == "augment" else train, validation


class Chance(_Blobs):
    """The loss of a batch is a random number."""

    def training_step(self, model: nn.Module, batch: Any) -> LossSum:
        outputs = model(batch[0])
        return LossSum(outputs.sum() * 0.0 + torch.rand(()) * len(outputs), len(outputs))


class OneBadRow(_Blobs):
    """Row 60 of the training set is no number: only the rank that draws it sees it."""

    bad_row = 60

    def build_data(self) -> Any:
        train, validation = super().build_data()
        points, labels = train.tensors
        points = points.clone()
        points[self.bad_row] = float("nan")
        return TensorDataset(points, labels), validation


class _Killed(Dataset[int]):
    """Ends the process that reads it, as the kernel does where memory runs out."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return index


_MESSAGES = {
    "gloo": "[gloo/transport/tcp/pair.cc:547] Connection closed by peer [::1]",
    "gloo timeout": "[/w/third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:81] Timed out "
    "waiting 1800000ms for recv operation to complete",
    "own file": "cannot read igloo.png",
    "shared memory": "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible "
    "that dataloader's workers are out of shared memory.",
}


class Raising(_Blobs):
    """Raises what it is told to while it trains."""

    def __init__(self, error: str) -> None:
        self.error = error

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.error == "memory":
            torch.empty(2**55)
        if self.error in _MESSAGES:
            raise RuntimeError(_MESSAGES[self.error])
        if self.error == "loading process":
            next(iter(DataLoader(_Killed(), num_workers=1)))
        if self.error == "own connection":
            raise ConnectionResetError(104, "Connection reset by peer")
        return super().loss(outputs[:, :0], targets)


class _Mischief:
    """Takes the place of a scheduler, and so acts when a step of the training is done."""

    def step(self) -> None:
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        torch.set_grad_enabled(False)
        torch.use_deterministic_algorithms(True)
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.benchmark = True
        os.chdir("/")
        os.environ["OMP_NUM_THREADS"] = "7"
        os.environ.pop("HOME", None)
        cycle: list[Any] = [bytearray(2_000_000)]
        cycle.append(cycle)


class Nasty(_Blobs):
    """Changes every global setting that it can reach, and leaves it so."""

    def build_scheduler(self, _optimizer: torch.optim.Optimizer, _total_steps: int) -> _Mischief:
        return _Mischief()


_RELEASED = threading.Event()


class LeavesThread(_Blobs):
    """Starts a thread and leaves it running until :func:`release_threads` is called."""

    def build_model(self) -> nn.Module:
        threading.Thread(target=_RELEASED.wait, args=(60,), name="left behind").start()
        return super().build_model()


def release_threads(_rank: int) -> None:
    _RELEASED.set()


class _Counter:
    """Takes the place of a scheduler, and so counts the steps of the training itself."""

    def __init__(self) -> None:
        self.steps = 0

    def step(self) -> None:
        self.steps += 1


class Augmented(_Blobs):
    """Notes the hash of every point it is trained or evaluated on in files of a folder.

    ``listed``: the data set is one of its own, so that loading processes can come into play.
    ``in_place``: the augmentation writes into the sample that it is given.
    """

    def __init__(self, folder: str, listed: bool = False, in_place: bool = False) -> None:
        self.folder = Path(folder)
        self.listed = listed
        self.in_place = in_place
        self.counter: _Counter | None = None

    def build_data(self) -> Any:
        train, validation = super().build_data()
        return (_Listed(train), _Listed(validation)) if self.listed else (train, validation)

    def augment(self, sample: Any, generator: torch.Generator) -> Any:
        point, label = sample
        noise = torch.randn(point.shape, generator=generator)
        if self.in_place:
            point += noise
            return point, label
        return point + noise, label

    def build_scheduler(self, _optimizer: torch.optim.Optimizer, _total_steps: int) -> _Counter:
        self.counter = _Counter()
        return self.counter

    def training_step(self, model: nn.Module, batch: Any) -> LossSum:
        points, labels = batch
        if self.counter is not None:  # neither a probe nor the warm-up
            self._note(f"train {self.counter.steps}", points)
        losses = self.loss(model(points), labels)
        return LossSum(losses.sum(), len(losses))

    def evaluation_step(self, model: nn.Module, batch: Any) -> EvaluationOutput:
        points, labels = batch
        self._note("validation", points)
        outputs = model(points)
        losses = self.loss(outputs, labels)
        return EvaluationOutput(
            losses.sum(), len(losses), labels, outputs[:, 0].double().sigmoid()
        )

    def _note(self, when: str, points: Tensor) -> None:
        with (self.folder / f"{os.getpid()}").open("a") as file:
            for point in points:
                file.write(f"{when} {hashlib.sha256(point.numpy().tobytes()).hexdigest()}\n")


class CountsBatches(Layers):
    """Fails where an evaluation batch other than the last has another size than it should."""

    def __init__(self, size: int) -> None:
        super().__init__("plain")
        self.size = size

    def evaluation_step(self, model: nn.Module, batch: Any) -> EvaluationOutput:
        points, labels = batch
        assert len(points) in (self.size, 41 % self.size)
        losses: Tensor = self.loss(model(points), labels)
        return EvaluationOutput(losses.sum(), len(losses), labels, predictions=labels)


def brier(scores: NDArray[np.float64], targets: NDArray[Any]) -> float:
    """Lower is better."""
    return float(np.mean((scores - targets) ** 2))


def top_two(scores: NDArray[np.float64], targets: NDArray[Any]) -> float:
    best = np.argsort(scores, axis=1)[:, -2:]
    return float((best == targets[:, None]).any(axis=1).mean())


def undefined(_scores: NDArray[np.float64], _targets: NDArray[Any]) -> float:
    return float("nan")


def largest_error(scores: NDArray[np.float64], targets: NDArray[Any]) -> float:
    return float(np.abs(scores - targets).max())


class Declared(Given):
    """Outputs known beforehand and metrics of its own."""

    def __init__(self, kind: str, samples: int) -> None:
        super().__init__(kind, samples)
        own = {"regression": Metric("largest_error", False, largest_error)}
        binary = Metric("brier", False, brier) if kind.startswith("binary") else None
        self.metrics = [
            own.get(kind) or binary or Metric("top_two", True, top_two),
            Metric("undefined", True, undefined),
        ]


class Prepared(_Blobs):
    """Notes in a file who prepared what; builds its data only where that has been done."""

    def __init__(self, folder: str, fault: str = "none", name: str = "data") -> None:
        self.folder, self.fault, self.name = Path(folder), fault, name

    def prepare(self) -> None:
        if self.fault == "raises":
            raise OSError("no such host")
        time.sleep(0.2)
        os.environ["LEFT_BY_PREPARE"] = "1"
        with (self.folder / self.name).open("a") as file:
            file.write(f"{os.getpid()}\n")

    def build_data(self) -> Any:
        assert (self.folder / self.name).exists(), "data was built before it was prepared"
        return super().build_data()
