from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset, TensorDataset

from ddp_sweep.errors import SpecError, WorkloadError
from ddp_sweep.spec import SweepSpec, parse_spec
from ddp_sweep.training.inspection import directions_of_all, inspect_for, inspect_workload
from ddp_sweep.workload import Binary, LossSum, Metric, Multiclass, Regression
from ddp_sweep.workloads.breast_cancer import BreastCancer
from ddp_sweep.workloads.digits import Digits
from ddp_sweep.workloads.fraud import Fraud


class Small:
    """A workload that is right; each option makes one thing wrong."""

    task: Any = Multiclass(3)

    def __init__(self, **wrong: Any) -> None:
        self.wrong = wrong
        self.task = wrong.get("task", self.task)

    def build_model(self) -> Any:
        return self.wrong.get("model", nn.Linear(4, 3))

    def build_data(self) -> Any:
        labels = torch.tensor(self.wrong.get("labels", [0, 1, 2, 0, 1, 2]))
        data = TensorDataset(torch.ones(len(labels), 4), labels)
        return self.wrong.get("data", (data, data))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        reduction = self.wrong.get("reduction", "none")
        return nn.functional.cross_entropy(outputs, targets, reduction=reduction)


class OwnStep(Small):
    def training_step(self, model: nn.Module, batch: Any) -> Any:
        if "step" in self.wrong:
            return self.wrong["step"]
        return LossSum(self.loss(model(batch[0]).detach(), batch[1]).sum(), 1.0)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Unsized:
    def __getitem__(self, index: int) -> int:
        return index


class TwoMissing:
    task = Binary()

    def build_model(self) -> nn.Module:
        return nn.Linear(1, 1)


EMPTY = TensorDataset(torch.ones(0, 4), torch.ones(0).long())


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        (Small, {"task": "binary"}, r"task: expected Binary\(...\), Multiclass"),
        (Small, {"model": 3}, "build_model: expected a torch.nn.Module, got .* int"),
        (Small, {"model": nn.Linear(5, 3)}, "the model raised an error when given a tensor"),
        (Small, {"model": nn.Linear(4, 2), "labels": [0, 1, 0, 1]}, r"shape \[4, 3\]"),
        (Small, {"data": None}, "expected .training set, validation set., got .* NoneType"),
        (Small, {"data": (Stream(), Stream())}, r"is iterable \(Stream\); a map-style"),
        (Small, {"data": (Unsized(), Unsized())}, r"training set \(Unsized\) has no __len__"),
        (Small, {"data": (EMPTY, EMPTY)}, "the training set is empty"),
        (Small, {"labels": [0, 1, 3]}, "labels lie between 0 and 3; a Multiclass task with 3"),
        (Small, {"labels": [-1, 1, 2]}, "labels lie between -1 and 2"),
        (Small, {"labels": [0.5, 1.0]}, "whole numbers from 0 to 2"),
        (Small, {"reduction": "mean"}, r"losses of 4 samples, shape \[4\].*reduction='none'"),
        (OwnStep, {}, "the training loss has no gradient"),
        (OwnStep, {"step": torch.ones(())}, r"expected LossSum\(total, weight\), got a tensor"),
        (OwnStep, {"step": LossSum(torch.ones(2), 1.0)}, r"a scalar tensor, got .* shape \[2\]"),
        (TwoMissing, {}, "TwoMissing lacks build_data, loss"),
        (Digits, {"chanels": 3}, 'chanels: unknown option; did you mean "channels"'),
    ],
)
def test_what_is_wrong_with_a_workload_is_said_before_anything_starts(
    factory: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(WorkloadError, match=message):
        inspect_workload(factory, options)


@pytest.mark.parametrize(
    ("factory", "options", "task", "samples"),
    [
        (Digits, {"channels": 2}, Multiclass, (1437, 360)),
        (BreastCancer, {}, Binary, (426, 143)),
        (Fraud, {"samples": 1000, "class_weight": 5.0}, Binary, (750, 250)),
        (Small, {}, Multiclass, (6, 6)),
    ],
)
def test_a_sound_workload_tells_what_a_plan_needs(
    factory: Any, options: dict[str, Any], task: type, samples: tuple[int, int]
) -> None:
    facts = inspect_workload(factory, options)
    assert isinstance(facts.task, task)
    assert not isinstance(facts.task, Regression)
    assert (facts.train_samples, facts.validation_samples) == samples


class _OwnOptimizer(Digits):
    def build_optimizer(self, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(model.parameters(), lr=learning_rate)


class _LongWeight(Digits):
    def training_step(self, model: nn.Module, batch: Any) -> LossSum:
        images, labels = batch
        losses = self.loss(model(images), labels)
        return LossSum(losses.sum(), torch.ones(len(losses)).sum(0, keepdim=True))


def test_an_axis_that_would_change_nothing_is_refused() -> None:
    sweep = {"world_size": [1], "global_batch_size": [64], "optimizer": ["sgd", "adamw"]}
    spec = parse_spec(
        {
            "name": "void",
            "workload": "x:Y",
            "sweep": sweep,
            "training": {"epochs": 1, "learning_rate": 0.1},
        }
    )
    assert inspect_for(spec, Digits, {}).replaced_settings == ()
    with pytest.raises(SpecError, match=r"sweep\.optimizer: this axis would change nothing"):
        inspect_for(spec, _OwnOptimizer, {})


def test_a_weight_that_is_no_scalar_is_named() -> None:
    with pytest.raises(WorkloadError, match=r"LossSum\.weight: expected a number"):
        inspect_workload(_LongWeight, {})


class _Scored(Small):
    @property
    def metrics(self) -> list[Metric]:
        better = self.wrong.get("higher_is_better", True)
        return [Metric("hits", better, lambda scores, _: float(scores.max()))]


def _quality(**quality: Any) -> SweepSpec:
    return parse_spec(
        {
            "name": "scored",
            "workload": "x:Y",
            "sweep": {"world_size": [1], "global_batch_size": [64]},
            "training": {"epochs": 1, "learning_rate": 0.1},
            "quality": quality,
        }
    )


def test_declared_metrics_may_stand_in_targets_margins_and_floors() -> None:
    named = {"metric_hits": 0.5}
    spec = _quality(target=named, margins=named, floors=named)
    facts = inspect_for(spec, _Scored, {})
    assert facts.declared == {"metric_hits": True}
    assert "metric_hits" in facts.metrics
    with pytest.raises(SpecError, match=r"floors.metric_hits.*better when\s+lower"):
        inspect_for(spec, _Scored, {"higher_is_better": False})
    with pytest.raises(SpecError, match=r'metric; did you mean "metric_hits"'):
        inspect_for(_quality(margins={"metric_hit": 0.1}), _Scored, {})


def test_a_floor_on_a_class_that_the_workload_lacks_is_refused_before_the_sweep() -> None:
    named = {"task": Multiclass(3, ("cat", "dog", "owl"))}
    inspect_for(_quality(floors={"recall[dog]": 0.5, "recall[2]": 0.5}), Small, named)
    with pytest.raises(SpecError, match=r'no class "dogs".*did you mean "dog"'):
        inspect_for(_quality(floors={"recall[dogs]": 0.5}), Small, named)


def test_variants_must_agree_on_the_direction_of_a_metric() -> None:
    up, down = (
        inspect_workload(_Scored, {"higher_is_better": better}) for better in (True, False)
    )
    assert directions_of_all([up, up]) == {"metric_hits": True}
    with pytest.raises(WorkloadError, match="higher is better with some workload_options"):
        directions_of_all([up, down])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a b", True, max), "letters, digits"),
        (("hits", "higher", max), "True or False"),
        (("hits", True, 0.5), "a function of"),
    ],
)
def test_a_metric_that_cannot_be_one_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Metric(*arguments)


class _FloatsThatAreConverted(Small):
    """Nothing is wrong with it."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().loss(outputs, targets.long())

    def build_data(self) -> Any:
        samples = [(torch.ones(4), float(row % 3)) for row in range(6)]
        return samples, samples


def test_labels_that_the_loss_converts_are_not_refused() -> None:
    assert inspect_workload(_FloatsThatAreConverted, {}).train_samples == 6
