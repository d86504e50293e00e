from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ddp_processes import RankProcesses
from scipy.special import expit, softmax
from sklearn import metrics as sk
from torch import Tensor, nn
from training_workloads import Layers, given_outputs
from trial_runs import group_ranks, request, run_trial

from ddp_sweep.errors import WorkloadError
from ddp_sweep.spec import DataSettings
from ddp_sweep.training.batch_steps import evaluation_step
from ddp_sweep.training.evaluation import Evaluator
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.messages import RankReport
from ddp_sweep.workload import Binary, EvaluationOutput, Multiclass

GIVEN = "training_workloads:Given"


def evaluated(pool: RankProcesses, kind: str, samples: int, world_size: int) -> RankReport:
    wanted = request(
        GIVEN,
        world_size,
        6,
        options={"kind": kind, "samples": samples},
        # So small that the outputs stay what they are.
        training={"samples": 6, "learning_rate": 1e-30},
        data={"evaluation_batch_size": 20},
    )
    report: RankReport = pool.run(run_trial, GIVEN, wanted)[0]
    return report


def bits(quality: dict[str, Any], samples: int) -> list[bool]:
    packed = np.frombuffer(quality["correct_bits"], dtype=np.uint8)
    return [bool(bit) for bit in np.unpackbits(packed)[:samples]]


@pytest.mark.ddp
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("samples", [143, 2])
@pytest.mark.parametrize("positive", [0, 1])
def test_binary_metrics_are_scikit_learns(
    pool: RankProcesses, positive: int, samples: int, world_size: int
) -> None:
    report = evaluated(pool, f"binary{positive}", samples, world_size)
    quality = report.evaluations[-1].quality
    logits, truth = given_outputs(f"binary{positive}", samples, 0)
    probability = expit(logits) if positive else 1 - expit(logits)
    predicted = np.where(probability >= 0.5, positive, 1 - positive)
    expected = {
        "accuracy": sk.accuracy_score(truth, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
        "mcc": sk.matthews_corrcoef(truth, predicted),
        "precision": sk.precision_score(truth, predicted, pos_label=positive, zero_division=0),
        "recall": sk.recall_score(truth, predicted, pos_label=positive, zero_division=0),
        "f1": sk.f1_score(truth, predicted, pos_label=positive, zero_division=0),
        "auroc": sk.roc_auc_score(truth == positive, probability),
        "average_precision": sk.average_precision_score(truth == positive, probability),
        "val_loss": sk.log_loss(truth, expit(logits), labels=[0, 1]),
    }
    assert {name: quality[name] for name in expected} == pytest.approx(
        expected, rel=1e-12, abs=1e-12
    )
    assert quality["confusion_matrix"] == sk.confusion_matrix(truth, predicted).tolist()
    assert bits(quality, samples) == (truth == predicted).tolist()
    assert report.eval_samples == report.expected_eval_samples == samples


# scikit-learn warns of a predicted class without a sample.
@pytest.mark.filterwarnings("ignore:y_pred contains classes:UserWarning")
@pytest.mark.ddp
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("kind", ["all classes", "missing"])
def test_multiclass_metrics_are_scikit_learns(
    pool: RankProcesses, kind: str, world_size: int
) -> None:
    report = evaluated(pool, kind, 143, world_size)
    quality = report.evaluations[-1].quality
    logits, truth = given_outputs(kind, 143, 0)
    scores, predicted = softmax(logits, axis=1), logits.argmax(axis=1)
    macro = {"average": "macro", "zero_division": 0}
    expected: dict[str, float | None] = {
        "accuracy": sk.accuracy_score(truth, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
        "mcc": sk.matthews_corrcoef(truth, predicted),
        "precision": sk.precision_score(truth, predicted, **macro),
        "recall": sk.recall_score(truth, predicted, **macro),
        "f1": sk.f1_score(truth, predicted, **macro),
        "val_loss": sk.log_loss(truth, scores, labels=range(6)),
        "auroc": None,
        "average_precision": None,
    }
    if kind == "all classes":
        expected["auroc"] = sk.roc_auc_score(truth, scores, multi_class="ovr", average="macro")
        expected["average_precision"] = sk.average_precision_score(
            np.eye(6)[truth], scores, average="macro"
        )
    else:
        assert 4 not in truth
        assert 2 not in predicted
        assert quality["per_class_recall"][4] is None
    known = {name: value for name, value in expected.items() if value is not None}
    assert {name: quality[name] for name in known} == pytest.approx(known, rel=1e-12, abs=1e-12)
    assert all(quality[name] is None for name in expected.keys() - known.keys())
    assert quality["confusion_matrix"] == (
        sk.confusion_matrix(truth, predicted, labels=range(6)).tolist()
    )
    assert bits(quality, 143) == (truth == predicted).tolist()
    assert report.eval_samples == 143


@pytest.mark.ddp
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("samples", [143, 2])
def test_regression_metrics_are_scikit_learns_also_far_from_zero(
    pool: RankProcesses, samples: int, world_size: int
) -> None:
    report = evaluated(pool, "regression", samples, world_size)
    quality = report.evaluations[-1].quality
    outputs, truth = given_outputs("regression", samples, 0)
    assert truth.mean() > 1e7
    expected = {
        "mae": sk.mean_absolute_error(truth, outputs),
        "rmse": sk.root_mean_squared_error(truth, outputs),
        "r2": sk.r2_score(truth, outputs),
        "val_loss": sk.mean_squared_error(truth, outputs),
    }
    assert {name: quality[name] for name in expected} == pytest.approx(
        expected, rel=1e-12, abs=1e-12
    )
    assert "accuracy" not in quality
    assert report.eval_samples == samples


def quality_with_other_buffers(rank: int, world_size: int) -> dict[str, Any] | None:
    """Evaluate a model whose buffers differ from rank to rank; rank 0 has those of a new model."""
    ranks = group_ranks(rank, world_size)
    if ranks is None:
        return None
    workload = Layers("batch_norm dropout")
    torch.manual_seed(0)
    model = workload.build_model()
    model.register_buffer("flags", torch.tensor([rank == 0, True]))
    model.register_buffer("turned", (torch.arange(6.0) * (rank + 1)).view(2, 3).t())
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer += rank
    evaluator = Evaluator(
        model.train(),
        BatchSource(workload.build_data()[1], workload, DataSettings(), ranks.device),
        evaluation_step(workload, ranks.device, "float32", 0.5),
        workload.task,
        batch_size=8,
        ranks=ranks,
    )
    quality, count = evaluator.run()
    assert model.training
    return quality | {"count": count, "buffers": [b.tolist() for b in model.buffers()]}


@pytest.mark.ddp
def test_evaluation_is_that_of_rank_0_on_every_rank(pool: RankProcesses) -> None:
    alone = pool.run(quality_with_other_buffers, 1)[0]
    together = pool.run(quality_with_other_buffers, 3)
    assert together[0] == together[1] == together[2]
    assert together[0]["buffers"] == alone["buffers"]
    assert together[0]["confusion_matrix"] == alone["confusion_matrix"]
    assert together[0]["val_loss"] == pytest.approx(alone["val_loss"], rel=1e-6)
    assert together[0]["count"] == alone["count"] == 41


class Answers:
    """A workload whose evaluation_step returns what it is given."""

    def __init__(self, task: Binary | Multiclass, answer: Any) -> None:
        self.task = task
        self.answer = answer

    def evaluation_step(self, _model: nn.Module, _batch: Any) -> Any:
        return self.answer


def output(targets: list[Any], **fields: Tensor) -> EvaluationOutput:
    return EvaluationOutput(torch.tensor(1.0), 1.0, torch.tensor(targets), **fields)


@pytest.mark.parametrize(
    ("task", "answer", "message"),
    [
        (Binary(), torch.ones(3), "expected an EvaluationOutput, got a tensor"),
        (Binary(), output([0, 1]), "give scores or predictions"),
        (Binary(), output([0, 2], scores=torch.ones(2)), "labels lie between 0 and 2"),
        (Binary(), output([0, 1], predictions=torch.tensor([0, 2])), "predictions lie between"),
        (Binary(), output([0, 1], scores=torch.ones(2, 1)), r"scores: expected shape \[2\]"),
        (Binary(), output([[0], [1]], scores=torch.ones(2)), r"targets: expected shape \[2\]"),
        (Multiclass(3), output([0, 1], scores=torch.ones(2, 2)), r"expected shape \[2, 3\]"),
        (Multiclass(3), output([0.5, 1.0], scores=torch.ones(2, 3)), "allows whole numbers"),
    ],
)
def test_an_evaluation_step_that_returns_the_wrong_thing_is_told_so(
    task: Binary | Multiclass, answer: Any, message: str
) -> None:
    workload: Any = Answers(task, answer)
    step = evaluation_step(workload, torch.device("cpu"), "float32", 0.5)
    with pytest.raises(WorkloadError, match=message):
        step(nn.Identity(), None)


@pytest.mark.parametrize(("positive", "expected"), [(1, [0, 0, 1, 1]), (0, [0, 0, 0, 1])])
def test_the_threshold_is_of_the_probability_of_the_positive_class(
    positive: int, expected: list[int]
) -> None:
    scores = torch.tensor([0.1, 0.29, 0.5, 0.9], dtype=torch.float64)
    answer = output([0, 1, 0, 1], scores=scores)
    workload: Any = Answers(Binary(positive=positive), answer)
    step = evaluation_step(workload, torch.device("cpu"), "float32", 0.3)
    predictions = step(nn.Identity(), None).predictions
    assert predictions is not None
    assert predictions.tolist() == expected


@pytest.mark.ddp
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize(
    ("kind", "name"),
    [("binary1", "brier"), ("all classes", "top_two"), ("regression", "largest_error")],
)
def test_declared_metrics_see_every_sample_once_and_in_order(
    pool: RankProcesses, kind: str, name: str, world_size: int
) -> None:
    workload = "training_workloads:Declared"
    target = {"metric_largest_error": 100.0} if kind == "regression" else {}
    wanted = request(
        workload,
        world_size,
        6,
        options={"kind": kind, "samples": 143},
        training={"samples": 6, "learning_rate": 1e-30},
        data={"evaluation_batch_size": 20},
        quality={"target": target},
    )
    report: RankReport = pool.run(run_trial, workload, wanted)[0]
    quality = report.evaluations[-1].quality
    outputs, truth = given_outputs(kind, 143, 0)
    expected = {
        "brier": lambda: sk.brier_score_loss(truth, expit(outputs)),
        "top_two": lambda: sk.top_k_accuracy_score(truth, softmax(outputs, axis=1), k=2),
        "largest_error": lambda: sk.max_error(truth, outputs),
    }[name]()
    assert quality[f"metric_{name}"] == pytest.approx(expected, rel=1e-12)
    # No finite number is no value.
    assert quality["metric_undefined"] is None
    # Lower is better, which only the workload knows: the target is met.
    assert (report.samples_to_target == 6) == (kind == "regression")
