"""Workloads with one fault each, and the words that the message about it must hold."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from ddp_sweep import Binary, EvaluationOutput, LanguageModel, LossSum, Metric, Multiclass

__all__ = ["FAULTS", "Fault", "Sound"]


class Sound:
    """Nothing is wrong with it."""

    task: Any = Multiclass(3)

    def build_model(self) -> Any:
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))

    def build_data(self) -> Any:
        labels = torch.arange(12) % 3
        data = TensorDataset(torch.randn(12, 4, generator=torch.Generator()), labels)
        return data, data

    def loss(self, outputs: Tensor, targets: Tensor) -> Any:
        return functional.cross_entropy(outputs, targets, reduction="none")


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        factory: Makes the workload.
        words: Each must occur in the message: the member, what was expected, what came.
        options: Options of the workload.
        loading_processes: Whether processes of their own load the samples.
    """

    factory: Callable[..., Any]
    words: tuple[str, ...]
    options: dict[str, Any] | None = None
    loading_processes: bool = False


FAULTS: dict[str, Fault] = {}


def fault(
    name: str, *words: str, loading_processes: bool = False, **options: Any
) -> Callable[[type], type]:
    def add(factory: type) -> type:
        FAULTS[name] = Fault(factory, words, options, loading_processes)
        return factory

    return add


def with_data(inputs: Tensor, targets: Tensor) -> Callable[[object], Any]:
    return lambda _self: (TensorDataset(inputs, targets),) * 2


class OneByOne(Dataset[Any]):
    """Any list of samples as a data set."""

    def __init__(self, samples: list[Any]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]


@fault("a member is missing", "lacks build_data, loss", "task, build_model, build_data, loss")
class Half:
    task = Binary()

    def build_model(self) -> nn.Module:
        return nn.Linear(4, 1)


@fault(
    "a required member is misspelt",
    "lacks build_model",
    "build_modle",
    "did you mean build_model?",
)
class Misspelt:
    task, build_data, loss = Sound.task, Sound.build_data, Sound.loss

    def build_modle(self) -> nn.Module:
        return nn.Linear(4, 3)


@fault("an optional member is misspelt", "train_step is no member", "did you mean training_step")
class MisspeltStep(Sound):
    def train_step(self, _model: nn.Module, _batch: Any) -> LossSum:
        raise AssertionError


@fault("build_model takes an argument", "build_model()", "missing a required argument: 'width'")
class Argument(Sound):
    def build_model(self, width: int) -> Any:
        return nn.Linear(4, width)


@fault("loss takes one argument", "loss(outputs, targets)", "too many positional")
class OneArgument(Sound):
    def loss(self, outputs: Tensor) -> Any:  # type: ignore[override]
        return outputs.sum()


@fault("an unknown option", "workload_options", "widht", "allowed: width", widht=3)
class Options(Sound):
    def __init__(self, width: int = 3) -> None:
        self.width = width


@fault("task is a string", "task: expected Binary", "got 'multiclass'")
class NoTask(Sound):
    task = "multiclass"


@fault("__init__ raises", "the workload itself raised", "KeyError: 'HOME_OF_DATA'")
class RaisesInit(Sound):
    def __init__(self) -> None:
        raise KeyError("HOME_OF_DATA")


@fault("prepare raises", "prepare raised", "OSError: no route to host")
class RaisesPrepare(Sound):
    def prepare(self) -> None:
        raise OSError("no route to host")


@fault("build_data raises", "build_data raised", "No such file", "nowhere.csv")
class RaisesData(Sound):
    def build_data(self) -> Any:
        with open("/nowhere.csv") as file:  # noqa: PTH123
            return file


@fault("build_data leaves the program", "build_data raised", "SystemExit: 3")
class Exits(Sound):
    def build_data(self) -> Any:
        sys.exit(3)


@fault("build_data returns one data set", "build_data: expected (training set, validation set)")
class OneSet(Sound):
    def build_data(self) -> Any:
        return super().build_data()[0]


@fault("an empty data set", "build_data: the training set is empty")
class Empty(Sound):
    build_data = with_data(torch.ones(0, 4), torch.ones(0).long())


class _Unsized:
    def __getitem__(self, index: int) -> int:
        return index


@fault("a data set without __len__", "the training set (_Unsized) has no __len__")
class Unsized(Sound):
    def build_data(self) -> Any:
        return _Unsized(), _Unsized()


class _Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(())


@fault("an iterable data set", "is iterable (_Stream)", "the same samples must reach")
class Streamed(Sound):
    def build_data(self) -> Any:
        return _Stream(), _Stream()


@fault("a data set raises", "the training set (_Raises)", "IndexError: row 0 is gone")
class RaisesItem(Sound):
    def build_data(self) -> Any:
        class _Raises(OneByOne):
            def __getitem__(self, index: int) -> Any:
                raise IndexError(f"row {index} is gone")

        return _Raises([1, 2]), _Raises([1, 2])


@fault(
    "samples of unequal length",
    "4 samples of the data set do not make a batch",
    "stack expects each tensor to be equal size",
    "give your workload collate(samples) -> batch",
)
class Ragged(Sound):
    def build_data(self) -> Any:
        data = OneByOne([(torch.ones(length), 0) for length in (2, 3, 4, 5)])
        return data, data


@fault("collate raises", "collate raised", "a tuple of 2 elements", "ValueError: no pad id")
class RaisesCollate(Sound):
    def collate(self, _samples: list[Any]) -> Any:
        raise ValueError("no pad id")


def all_ignored(train: int, validation: int) -> Callable[[object], Any]:
    tokens = torch.zeros(12, 4, dtype=torch.long)
    return lambda _self: tuple(
        TensorDataset(tokens, torch.full_like(tokens, target)) for target in (train, validation)
    )


class Tokens(Sound):
    task = LanguageModel()

    def build_model(self) -> Any:
        return nn.Embedding(3, 3)

    def loss(self, outputs: Tensor, targets: Tensor) -> Any:
        return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")


@fault("all targets of training ignored", "every target of the first samples is -100 (ignored)")
class IgnoredTraining(Tokens):
    build_data = all_ignored(-100, 1)


@fault("all targets of validation ignored", "is -100 (ignored)", "the validation set")
class IgnoredValidation(Tokens):
    build_data = all_ignored(1, -100)


@fault("a plain model is at fault", "the model raised", "mat1 and mat2 shapes cannot be")
class WrongWidth(Sound):
    def build_model(self) -> Any:
        return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


@fault("augment raises", "augment raised", "TypeError", "shift() ")
class RaisesAugment(Sound):
    def augment(self, sample: Any, _generator: torch.Generator) -> Any:
        return shift(sample)


def shift(sample: Any, by: int, generator: torch.Generator) -> Any:
    return sample, by, generator


@fault("augment returns nothing", "augment: returned None", "expected the augmented sample")
class AugmentsNothing(Sound):
    def augment(self, sample: Any, generator: torch.Generator) -> Any:
        sample[0].add_(torch.randn(4, generator=generator))


@fault("a batch of three", "is a tuple of 3 elements; expected (inputs, targets)", "training_step")
class Triples(Sound):
    def build_data(self) -> Any:
        data = TensorDataset(torch.ones(6, 4), torch.ones(6), torch.zeros(6).long())
        return data, data


@fault("missing values in the inputs", "inputs of the first samples of the training set hold NaN")
class Missing(Sound):
    build_data = with_data(torch.full((6, 4), math.nan), torch.arange(6) % 3)


@fault("inputs of another dtype", "the model raised", "shape [4, 4] and dtype float64", "dtype")
class Doubles(Sound):
    build_data = with_data(torch.ones(6, 4).double(), torch.arange(6) % 3)


@fault("labels of another dtype", "loss raised", "shape [4] and dtype float32", "Long")
class FloatLabels(Sound):
    build_data = with_data(torch.ones(6, 4), (torch.arange(6) % 3).float())


@fault("labels out of range", "labels lie between 1 and 3", "whole numbers from 0 to 2")
class FromOne(Sound):
    build_data = with_data(torch.ones(6, 4), torch.arange(6) % 3 + 1)


@fault("tokens out of range", "targets", "between 1 and 9", "vocabulary of 5", "-100")
class WrongTokens(Sound):
    task = LanguageModel()
    build_data = with_data(torch.ones(6, 4).long(), torch.tensor([[1, 2, 9, -100]] * 6))

    def build_model(self) -> Any:
        return nn.Embedding(5, 5)

    def loss(self, outputs: Tensor, targets: Tensor) -> Any:
        return functional.cross_entropy(outputs.transpose(1, 2), targets, reduction="none")


@fault("build_model raises", "build_model raised", "ValueError: embed_dim")
class RaisesModel(Sound):
    def build_model(self) -> Any:
        return ValueError_("embed_dim must be divisible by num_heads")


def ValueError_(text: str) -> Any:  # noqa: N802 - stands for a constructor that refuses
    raise ValueError(text)


@fault("build_model returns a class", "build_model: expected a torch.nn.Module", "type type")
class ReturnsClass(Sound):
    def build_model(self) -> Any:
        return nn.Linear


@fault("a model without values (meta)", "build_model: 0.weight, 0.bias", "device meta", "CPU")
class OnMeta(Sound):
    def build_model(self) -> Any:
        with torch.device("meta"):
            return super().build_model()


@fault("a tensor on another device", "the model raised", "meta")
class HalfOnMeta(Sound):
    def build_model(self) -> Any:
        class Scaled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.linear = nn.Linear(4, 3)
                self.scale = torch.ones(3, device="meta")

            def forward(self, inputs: Tensor) -> Any:
                return self.linear(inputs) * self.scale

        return Scaled()


@fault("nothing to train", "build_model: no parameter of the model requires a gradient")
class Frozen(Sound):
    def build_model(self) -> Any:
        return super().build_model().requires_grad_(False)


@fault("outputs of the wrong shape", "returned shape [4, 2]", "expects logits, shape [4, 3]")
class TwoOutputs(Sound):
    def build_model(self) -> Any:
        return nn.Linear(4, 2)


@fault("the model returns a tuple", "the model returned a tuple of 2 elements", "training_step")
class Tuples(Sound):
    def build_model(self) -> Any:
        class Twice(nn.Linear):
            def forward(self, inputs: Tensor) -> Any:
                return super().forward(inputs), inputs

        return Twice(4, 3)


@fault("loss returns a scalar", "loss: expected the losses of 4 samples", "reduction='none'")
class MeanLoss(Sound):
    def loss(self, outputs: Tensor, targets: Tensor) -> Any:
        return functional.cross_entropy(outputs, targets)


@fault("loss raises", "loss raised", "AttributeError", "no attribute 'lables'")
class RaisesLoss(Sound):
    def loss(self, outputs: Tensor, _targets: Tensor) -> Any:
        return functional.cross_entropy(outputs, self.lables)  # type: ignore[attr-defined]


@fault("loss is NaN at once", "loss", "first samples is nan", "expected a finite number")
class NanLoss(Sound):
    def loss(self, outputs: Tensor, targets: Tensor) -> Any:
        return super().loss(outputs, targets) * math.nan


@fault("loss without gradient", "the training loss has no gradient", "detach()")
class Detached(Sound):
    def loss(self, outputs: Tensor, targets: Tensor) -> Any:
        return super().loss(outputs.detach(), targets)


class OwnStep(Sound):
    """Steps of its own, sound ones."""

    def training_step(self, model: nn.Module, batch: Any) -> Any:
        losses = self.loss(model(batch[0]), batch[1])
        return LossSum(losses.sum(), len(losses))

    def evaluation_step(self, model: nn.Module, batch: Any) -> Any:
        outputs = model(batch[0])
        losses = self.loss(outputs, batch[1])
        return EvaluationOutput(losses.sum(), len(losses), batch[1], outputs.softmax(1))


@fault("training_step returns a float", "expected LossSum(total, weight), got", "type float")
class FloatStep(OwnStep):
    def training_step(self, model: nn.Module, batch: Any) -> Any:
        return super().training_step(model, batch).total.item()


@fault("training_step raises", "training_step raised", "KeyError: 'input_ids'")
class RaisesStep(OwnStep):
    def training_step(self, _model: nn.Module, batch: Any) -> Any:
        return dict(zip(("inputs", "labels"), batch, strict=True))["input_ids"]


@fault("a weight of 0", "LossSum.weight is 0", "above 0")
class NoWeight(OwnStep):
    def training_step(self, model: nn.Module, batch: Any) -> Any:
        return LossSum(super().training_step(model, batch).total, 0)


@fault("a negative weight", "LossSum.weight is -4", "above 0")
class NegativeWeight(OwnStep):
    def training_step(self, model: nn.Module, batch: Any) -> Any:
        return LossSum(super().training_step(model, batch).total, -4)


@fault("evaluation_step without targets", "EvaluationOutput.targets: expected a tensor", "None")
class NoTargets(OwnStep):
    def evaluation_step(self, _model: nn.Module, _batch: Any) -> Any:
        return EvaluationOutput(torch.ones(()), 4, None)  # type: ignore[arg-type]


@fault("targets of half a batch", "targets has 2 rows for a batch of 4 samples")
class HalfTargets(OwnStep):
    def evaluation_step(self, model: nn.Module, batch: Any) -> Any:
        return super().evaluation_step(model, [part[:2] for part in batch])


@fault("logits for scores", "EvaluationOutput.scores lie between", "softmax(dim=1) of logits")
class Logits(OwnStep):
    def evaluation_step(self, model: nn.Module, batch: Any) -> Any:
        outputs = model(batch[0])
        return EvaluationOutput(torch.ones(()), 4, batch[1], outputs * 20)


@fault("build_optimizer returns None", "build_optimizer: expected a torch.optim.Optimizer", "None")
class NoOptimizer(Sound):
    def build_optimizer(self, model: nn.Module, learning_rate: float) -> Any:
        torch.optim.SGD(model.parameters(), learning_rate)


@fault("an optimizer of half the model", "lacks 2 of the model's", "2.weight, 2.bias", "freeze")
class HalfOptimized(Sound):
    def build_optimizer(self, model: Any, learning_rate: float) -> Any:
        return torch.optim.SGD(model[0].parameters(), learning_rate)


@fault("build_scheduler returns a number", "build_scheduler: expected a torch.optim", "float")
class NoScheduler(Sound):
    def build_scheduler(self, optimizer: Any, total_steps: int) -> Any:
        return optimizer.param_groups[0]["lr"] / total_steps


@fault("a scheduler that wants metrics", "build_scheduler: step()", "'metrics'")
class Plateau(Sound):
    def build_scheduler(self, optimizer: Any, total_steps: int) -> Any:
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=total_steps)


@fault("metrics is a dict", "metrics: expected a list of ddp_sweep.Metric", "type dict")
class DictMetrics(Sound):
    metrics: ClassVar[Any] = {"top_two": max}


@fault("a metric returns an array", "metrics: the function of argmax returned", "ndarray")
class ArrayMetric(Sound):
    metrics: ClassVar[Any] = [Metric("argmax", True, lambda scores, _targets: scores.argmax(1))]


@fault("a metric raises", "metrics: the function of auc raised", "shape [12, 3]", "ValueError")
class RaisesMetric(Sound):
    metrics: ClassVar[Any] = [
        Metric("auc", True, lambda scores, _: ValueError_(f"{scores[0, 0]}"))
    ]


@fault(
    "a batch that cannot be pickled",
    "the training set",
    "cannot be sent between processes",
    "data.loader_workers: 0",
    loading_processes=True,
)
class Unpicklable(OwnStep):
    def collate(self, samples: list[Any]) -> Any:
        inputs, labels = torch.utils.data.default_collate(samples)
        return {0: inputs, 1: labels, "decode": lambda: samples}

    def build_data(self) -> Any:
        return tuple(OneByOne(list(data)) for data in super().build_data())


class SilentModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> None:
        self.layer(inputs)


@fault("forward returns nothing", "the model returned None", "end with `return`")
class SilentForward(Sound):
    def build_model(self) -> Any:
        return SilentModel()


def one_by_one(*samples: Any) -> Callable[[object], Any]:
    return lambda _self: (OneByOne(list(samples)),) * 2


ONES = torch.ones(4)


@fault("__getitem__ returns nothing", "training set (OneByOne): __getitem__ returned None")
class SilentSamples(Sound):
    build_data = one_by_one(None, None)


@fault("a part of a sample is None", "training set (OneByOne): element 1 of the sample", "is None")
class SilentLabels(Sound):
    build_data = one_by_one((ONES, None), (ONES, None))


@fault("collate returns nothing", "collate: returned None")
class SilentCollate(Sound):
    def collate(self, _samples: Any) -> None:
        return None


@fault("labels of a data set are outside the classes", "labels lie between 0 and 3", "from 0 to 2")
class FarLabelsOneByOne(Sound):
    build_data = one_by_one((ONES, 0), (ONES, 3))


@fault("labels of a data set are fractions", "labels lie between 0.0 and 0.5", "whole numbers")
class FractionsOneByOne(Sound):
    build_data = one_by_one((ONES, 0.0), (ONES, 0.5))


@fault("labels of a data set are floats", "labels are of dtype float64", "labels.long()")
class FloatsOneByOne(Sound):
    build_data = one_by_one((ONES, 0.0), (ONES, 2.0))


@fault("scores are NaN", "EvaluationOutput.scores hold NaN")
class ScoresOfNan(Sound):
    def evaluation_step(self, _model: nn.Module, batch: Any) -> EvaluationOutput:
        targets = batch[1]
        scores = torch.full((len(targets), 3), math.nan)
        return EvaluationOutput(torch.tensor(1.0), len(targets), targets, scores, targets)
