from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from ddp_sweep.training.metrics import (
    RegressionSums,
    auroc,
    average_precision,
    classification_metrics,
    regression_metrics,
    score_metrics,
)

LABELS = st.integers(2, 5).flatmap(
    lambda classes: st.tuples(
        st.just(classes),
        st.lists(
            st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)),
            min_size=1,
            max_size=60,
        ),
    )
)


# scikit-learn warns of undefined quotients, which it and we take for 0.
@pytest.mark.filterwarnings("ignore::UserWarning")
@given(LABELS)
def test_metrics_of_a_confusion_matrix_are_scikit_learns(
    drawn: tuple[int, list[tuple[int, int]]],
) -> None:
    classes, pairs = drawn
    truth, predicted = np.array(pairs).T
    confusion = sk.confusion_matrix(truth, predicted, labels=range(classes))
    ours = classification_metrics(confusion, positive=None)
    macro = sk.precision_recall_fscore_support(truth, predicted, average="macro", zero_division=0)
    each = sk.precision_recall_fscore_support(
        truth, predicted, labels=range(classes), zero_division=0
    )
    assert ours["accuracy"] == pytest.approx(sk.accuracy_score(truth, predicted), abs=1e-12)
    assert ours["mcc"] == pytest.approx(sk.matthews_corrcoef(truth, predicted), abs=1e-12)
    assert ours["balanced_accuracy"] == pytest.approx(
        sk.balanced_accuracy_score(truth, predicted), abs=1e-12
    )
    assert [ours[name] for name in ("precision", "recall", "f1")] == pytest.approx(
        macro[:3], abs=1e-12
    )
    assert ours["per_class_precision"] == pytest.approx(each[0], abs=1e-12)
    for recall, expected, support in zip(ours["per_class_recall"], each[1], each[3], strict=True):
        assert recall is None if support == 0 else recall == pytest.approx(expected, abs=1e-12)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60).filter(
        lambda rows: len({truth for truth, _ in rows}) == 2
    )
)
def test_areas_under_curves_are_scikit_learns_also_with_equal_scores(
    rows: list[tuple[bool, int]],
) -> None:
    truth = np.array([hit for hit, _ in rows])
    scores = np.array([score / 7 for _, score in rows])
    assert auroc(truth, scores) == pytest.approx(sk.roc_auc_score(truth, scores), abs=1e-12)
    assert average_precision(truth, scores) == pytest.approx(
        sk.average_precision_score(truth, scores), abs=1e-12
    )


def test_scores_without_a_curve_give_nothing() -> None:
    nothing = {"auroc": None, "average_precision": None}
    scores = np.array([0.1, 0.9, 0.4])
    assert score_metrics(np.array([1, 1, 1]), scores, positive=1) == nothing
    assert score_metrics(np.array([0, 1, 1]), np.array([0.1, np.nan, 0.4]), positive=1) == nothing
    # One of three classes has no sample.
    assert score_metrics(np.array([0, 1, 1]), np.full((3, 3), 1 / 3), positive=None) == nothing


def test_equal_targets_leave_nothing_to_explain() -> None:
    sums = RegressionSums(count=4, absolute=2.0, squared=4.0, deviation=0.0)
    assert regression_metrics(sums) == {"mae": 0.5, "rmse": 1.0, "r2": None}
