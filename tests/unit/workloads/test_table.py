"""The table workload: what it refuses and warns of, and that validation rows teach nothing."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from ddp_sweep.errors import DataWarning, WorkloadError
from ddp_sweep.training.inspection import inspect_workload
from ddp_sweep.workload import Binary, LossSum, Multiclass, Regression, located
from ddp_sweep.workloads.breast_cancer import BreastCancer
from ddp_sweep.workloads.table import Table

ROWS = 200


def customers() -> pd.DataFrame:
    """Customers with every kind of column; who left depends on age and plan, with much noise."""
    draw = np.random.default_rng(0)
    age = draw.normal(40, 10, ROWS).round(1)
    plan = draw.choice(["basic", "plus", "pro"], ROWS)
    left = (age / 10 + (plan == "basic") + draw.normal(0, 2, ROWS)) > 4.5
    frame = pd.DataFrame(
        {
            "age": age,
            "visits": draw.integers(0, 30, ROWS),
            "plan": plan,
            "paperless": draw.random(ROWS) < 0.5,
            "day": pd.date_range("2026-01-01", periods=ROWS, freq="D").strftime("%Y-%m-%d"),
            "shop": draw.integers(0, 12, ROWS),
            "left": np.where(left, "yes", "no"),
        }
    )
    frame.loc[::7, "age"] = np.nan
    frame.loc[::9, "plan"] = None
    return frame


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Table]:
    def build(frame: pd.DataFrame, **options: Any) -> Table:
        file = tmp_path / "customers.parquet"
        frame.to_parquet(file)
        return Table(file, **{"label": "left", "positive": "yes", "drop": ["day"]} | options)

    return build


Build = Callable[..., Table]


def data(workload: Table) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        train, validation = workload.build_data()
    return (*train.tensors, *validation.tensors)


def warned(workload: Table) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        workload.build_data()
    assert all(one.category is DataWarning for one in caught)
    return [str(one.message) for one in caught]


def test_kinds_of_columns_become_numbers_and_codes(table: Build) -> None:
    workload = table(customers())
    train_x, train_y, val_x, val_y = data(workload)

    assert (len(train_y), len(val_y)) == (160, 40)
    # age, visits, shop, "age is missing"; then the codes of plan and paperless.
    assert train_x.shape == (160, 6)
    numbers, codes = train_x[:, :3].double(), train_x[:, 4:]
    torch.testing.assert_close(numbers.mean(dim=0), torch.zeros(3).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        numbers.std(dim=0, unbiased=False), torch.ones(3).double(), atol=1e-6, rtol=0
    )
    assert set(train_x[:, 3].tolist()) == {0.0, 1.0}
    assert set(codes[:, 0].tolist()) == {1.0, 2.0, 3.0, 4.0}  # three plans, and missing
    assert set(codes[:, 1].tolist()) == {1.0, 2.0}
    assert workload.task == Binary(positive=1, class_names=("no", "yes"))
    assert workload.build_model()(val_x).shape == (40, 1)
    share = (customers()["left"] == "yes").mean()
    assert abs(train_y.double().mean() - share) < 0.01  # stratified
    assert abs(val_y.double().mean() - share) < 0.02


SPLITS: list[dict[str, Any]] = [
    {"by": "random"},
    {"by": "time", "column": "day"},
    {"by": "group", "column": "shop", "seed": 1},
]


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split["by"])
def test_nothing_of_a_validation_row_reaches_training(table: Build, split: dict[str, Any]) -> None:
    frame = customers()
    numbered = frame.assign(number=np.arange(ROWS))
    train, _, validation, _ = data(table(numbered, split=split, features=["number"], drop=[]))
    # Scaled numbers keep their order, so each row's rank is its number.
    rank = torch.cat([train, validation]).flatten().argsort().argsort().numpy()
    is_validation = np.isin(np.arange(ROWS), rank[len(train) :])
    drop = [] if split["by"] == "time" else ["day"]
    assert 0 < is_validation.sum() < ROWS / 2

    before = data(table(frame, split=split, drop=drop))
    frame.loc[is_validation, "age"] = 1e6
    frame.loc[is_validation, "visits"] = -999
    frame.loc[is_validation, "plan"] = "never seen"
    frame.loc[is_validation, "paperless"] = True
    after = data(table(frame, split=split, drop=drop))

    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[2], after[2])
    assert (after[2][:, -2] == 0).all()  # an unseen plan


def test_time_and_group_splits_keep_their_word(table: Build) -> None:
    frame = customers().sample(frac=1.0, random_state=1)
    by_time = table(frame, split={"by": "time", "column": "day"}, features=["day", "age"], drop=[])
    days = sorted(frame["day"])
    train, _, validation, _ = data(by_time)
    # Days are text here; each of training is a known category, each later one unseen.
    assert len(validation) == 40
    assert (validation[:, -1] == 0).all()
    assert sorted(train[:, -1].tolist()) == [float(code + 1) for code in range(len(days) - 40)]

    by_group = table(
        frame,
        split={"by": "group", "column": "shop"},
        features=["shop", "age"],
        drop=[],
        categorical=["shop"],
    )
    _, _, validation, _ = data(by_group)
    assert (validation[:, -1] == 0).all()


def test_what_decides_the_split_is_no_feature_and_this_is_said(table: Build) -> None:
    workload = table(customers(), split={"by": "group", "column": "shop"})

    assert not warned(workload)
    assert workload.describe()["left out"] == "day, shop (decides the split)"


def test_how_a_table_was_read_is_described(table: Build) -> None:
    frame = customers()
    said = table(frame, split={"by": "time", "column": "day"}, drop=[]).describe()
    late = frame.sort_values("day").index[-40:]
    early = frame.index.difference(late)
    missing = frame.isna().sum()

    assert said["numbers"] == f"age ({missing['age']} missing), visits, shop"
    assert said["categories"] == f"plan 3 ({missing['plan']} missing), paperless 2"
    assert f"validation from day {frame.loc[late, 'day'].min()}: 160 rows" in said["split"]
    positives = [(frame.loc[rows, "left"] == "yes").sum() for rows in (early, late)]
    assert said["label"] == (
        f"left: yes in {positives[0]} of 160 training rows, in {positives[1]} of 40 "
        "validation rows"
    )


def test_ids_that_repeat_are_warned_of_and_few_categories_are_not(table: Build) -> None:
    frame = customers()
    for count, is_id in ((10, False), (20, False), (21, True), (60, True)):
        names = [f"c{row % count}" for row in range(ROWS)]
        notes = warned(table(frame.assign(card=names)))
        assert [f"column 'card' has {count} categories" in note for note in notes] == [
            True
        ] * is_id


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%Y-%m-%dT%H:%M:%S"])
def test_dates_as_text_are_refused_unless_they_are_called_names(table: Build, form: str) -> None:
    days = pd.date_range("2026-01-01", periods=ROWS, freq="D").strftime(form)
    frame = customers().assign(day=days)
    with pytest.raises(WorkloadError, match=r"'day' holds dates as text.*drop: \[day\]"):
        table(frame, drop=[])
    assert table(frame, drop=[], categorical="day")
    assert table(frame.assign(day="1.2.3"), drop=[])


def test_a_label_in_disguise_is_named(table: Build) -> None:
    honest = customers()
    assert not warned(table(honest))
    leaks = {
        "code": np.where(honest["left"] == "yes", "A7", "B2"),
        "refund": np.where(honest["left"] == "yes", 12.5, np.nan),
        "score": np.where(honest["left"] == "yes", 1.0, 0.0) + honest["visits"] / 100,
    }
    for name, values in leaks.items():
        [note] = warned(table(honest.assign(**{name: values})))
        assert f"column {name!r} alone predicts the label on validation rows" in note


def test_ids_copies_and_odd_cells_are_named(table: Build) -> None:
    frame = customers()
    numbered = frame.assign(row=np.arange(ROWS), key=[f"k{n}" for n in range(ROWS)])
    assert [note.split(" is different")[0] for note in warned(table(numbered))] == [
        "column 'row'",
        "column 'key'",
    ]
    [note] = warned(table(pd.concat([frame, frame.iloc[:50]], ignore_index=True)))
    assert "validation rows have the very features of a training row" in note
    odd = frame["visits"].astype(str).where(frame["visits"] != 3, "?")
    [note] = warned(table(frame.assign(visits=odd)))
    assert "column 'visits' is taken as text because of cells such as '?'" in note


def test_a_class_that_was_not_named_is_chosen_with_a_word(table: Build) -> None:
    [note] = warned(table(customers(), positive=None))

    assert "was taken as the positive class, being the rarer one" in note


def test_regression_is_in_the_units_of_the_label(tmp_path: Path) -> None:
    frame = load_diabetes(as_frame=True).frame
    frame["target"] = 1e5 + 1000 * frame["target"]
    frame.to_csv(tmp_path / "diabetes.csv", index=False)
    workload = Table(tmp_path / "diabetes.csv", "target")
    assert "was taken as a regression task" in warned(workload)[0]
    train_x, train_y, val_x, val_y = data(workload)
    torch.manual_seed(0)
    model = workload.build_model()
    assert isinstance(workload.task, Regression)
    fit(workload, model, train_x, train_y, steps=40)
    with torch.no_grad():
        error = (model(val_x).squeeze(1) - val_y).square().mean()
    assert 0 < error < 0.75 * val_y.var()
    # A label at the mean plus one deviation costs 1 where the mean is predicted.
    mean, deviation = train_y.double().mean(), train_y.double().std(unbiased=False)
    loss = workload.loss(mean.view(1, 1), (mean + deviation).view(1))
    torch.testing.assert_close(loss, torch.ones(1).double())


def fit(workload: Any, model: nn.Module, inputs: Tensor, targets: Tensor, steps: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for step in range(steps):
        rows = torch.arange(step * 64, step * 64 + 64) % len(inputs)
        optimizer.zero_grad()
        workload.loss(model(inputs[rows]), targets[rows]).mean().backward()
        optimizer.step()


def test_the_breast_cancer_table_is_as_good_as_the_workload_in_code(tmp_path: Path) -> None:
    frame = load_breast_cancer(as_frame=True).frame
    frame.to_csv(tmp_path / "breast_cancer.csv", index=False)
    from_table = Table(
        tmp_path / "breast_cancer.csv",
        "target",
        positive=0,
        split={"by": "random", "validation": 143 / 569},
        hidden=[32],
    )
    accuracies = {}
    for name, workload in {"table": from_table, "code": BreastCancer()}.items():
        train, validation = workload.build_data()
        (train_x, train_y), (val_x, val_y) = train.tensors, validation.tensors
        assert (len(train_y), len(val_y)) == (426, 143)
        correct = []
        for seed in range(5):
            torch.manual_seed(seed)
            model = workload.build_model()
            fit(workload, model, train_x, train_y, steps=150)
            with torch.no_grad():
                logits = model(val_x).squeeze(1)
            correct.append(((logits > 0) == val_y.bool()).double().mean().item())
            assert roc_auc_score(val_y.numpy(), logits.numpy()) > 0.98
        accuracies[name] = np.mean(correct)

    assert abs(accuracies["table"] - accuracies["code"]) <= 0.01, accuracies


def test_class_weights_weigh_training_only(table: Build) -> None:
    frame = customers()
    assert not hasattr(table(frame), "training_step")
    weighted = table(frame, class_weight=3)
    train_x, train_y, _, _ = data(weighted)
    model = weighted.build_model()
    result = weighted.training_step(model, (train_x, train_y))
    weights = np.where(train_y.numpy() == 1, 3.0, 1.0)
    losses = weighted.loss(model(train_x), train_y).detach().numpy()

    assert isinstance(result, LossSum)
    np.testing.assert_allclose(result.total.item(), (weights * losses).sum(), rtol=1e-5)
    np.testing.assert_allclose(float(result.weight), weights.sum())
    balanced = table(frame, class_weight="balanced").training_step(model, (train_x, train_y))
    assert float(balanced.weight) == pytest.approx(len(train_y))


def test_several_classes_of_text(table: Build) -> None:
    workload = table(customers().dropna(), label="plan", positive=None)
    *_, val_x, val_y = data(workload)

    assert workload.task == Multiclass(3, ("basic", "plus", "pro"))
    assert workload.build_model()(val_x).shape == (len(val_y), 3)


def with_column(name: str, value: Any) -> pd.DataFrame:
    frame = customers()
    frame[name] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (customers(), {"label": "Left"}, r"label: .* no column 'Left'; did you mean 'left'\?"),
        (customers(), {"drop": ["plam"]}, r"drop: .* did you mean 'plan'\? Columns|'plan'"),
        (customers(), {"split": {"by": "time", "column": "dai"}}, "split.column: .*'day'"),
        (customers(), {"split": {"by": "time"}}, "by: time needs a column"),
        (customers(), {"split": {"by": "moon"}}, "received 'moon'; allowed: random, time, group"),
        (customers(), {"split": {"size": 0.2}}, "split.size: no such setting"),
        (customers(), {"split": {"validation": 20}}, "received 20; allowed: a share between"),
        (customers(), {"task": "clustering"}, "received 'clustering'; allowed: auto, binary"),
        (customers(), {"positive": "maybe"}, "received 'maybe'; label 'left' is no or yes"),
        (customers(), {"features": ["age"]}, "give features .* or drop"),
        (customers(), {"label": "day", "drop": []}, "class 2026-01-01 has 1 rows; at least 5"),
        (customers(), {"class_weight": "equal"}, "received 'equal'; allowed: balanced"),
        (customers(), {"task": "regression"}, "a regression needs finite numbers, received"),
        (customers(), {"label": "plan"}, "label 'plan' is empty in 23 of 200 rows .first: row 1"),
        (with_column("left", "yes"), {}, "is 'yes' in all 200 rows; there is nothing to learn"),
        (with_column("when", pd.Timestamp(2026, 1, 1)), {}, r"'when' holds dates.*drop: \[when\]"),
        (with_column("age", np.inf), {}, r"'age' is infinite in 200 rows \(first: row 1\)"),
        (with_column("tags", [[1, 2]] * ROWS), {}, "'tags' holds values of type"),
        (with_column("shop", 1), {"split": {"by": "group", "column": "shop"}}, "one group only"),
        (with_column("day", None), {"split": {"by": "time", "column": "day"}}, "is empty in 200"),
        (customers().head(5), {}, "has 5 rows; at least 10"),
        (customers(), {"split": "time"}, "by: time needs a column; .*{by: time, column: day}"),
        (customers(), {"split": "randon"}, "received 'randon'; did you mean 'random'"),
        (customers(), {"split": 0.2}, "split: received 0.2; allowed: random, {by: time"),
        (customers(), {"split": {"seed": "x"}}, "split.seed: received 'x'; allowed: a whole"),
        (customers(), {"drop": {"day": 1}}, "drop: received {'day': 1}; allowed: the name of a"),
        (customers(), {"drop": "dai"}, "no column 'dai'; did you mean 'day'"),
        (customers(), {"label": ["left"]}, r"label: received \['left'\]; allowed: a text"),
        (customers(), {"positive": ["yes"]}, r"positive: received \['yes'\]; allowed: one of"),
        (customers(), {"hidden": "64"}, r"hidden: received '64'; allowed: .*\[64, 64\]"),
        (customers(), {"embedding": 0}, "embedding: received 0; allowed: a whole number above 0"),
        (customers(), {"dropout": 1}, "dropout: received 1; allowed: a share from 0 to below 1"),
    ],
)
def test_what_cannot_be_used_is_named_with_what_to_do(
    table: Build, frame: pd.DataFrame, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(WorkloadError, match=message):
        table(frame, **options)


def test_one_name_is_a_list_of_one_and_random_may_stand_alone(table: Build) -> None:
    frame = customers()
    short = data(table(frame, drop="day", categorical="shop", split="random", hidden=8))
    long = data(table(frame, drop=["day"], categorical=["shop"], split={"by": "random"}))
    assert all(torch.equal(one, other) for one, other in zip(short, long, strict=True))
    one = data(table(frame, drop=(), features="visits"))
    assert one[0].shape[1] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lable": "left"}, 'Table: lable: unknown option; did you mean "label"'),
        ({"label": "left", "weight": 2}, "Table: weight: unknown option; .*class_weight"),
        ({"label": "left"}, "Table: path must be given; the options it takes: path, label"),
    ],
)
def test_options_that_are_misspelt_or_missing_are_named_without_python(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(WorkloadError, match=message) as caught:
        inspect_workload(located(Table, None), options)
    assert not re.search("argument|Traceback|File", str(caught.value))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=r"there is no file .*gone\.csv"):
        Table(tmp_path / "gone.csv", "y")
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    with pytest.raises(WorkloadError, match=r"broken.parquet cannot be read: "):
        Table(tmp_path / "broken.parquet", "y")
    (tmp_path / "semicolons.csv").write_text("a;y\n" + "1;2\n" * 20)
    with pytest.raises(WorkloadError, match="set separator: ';'"):
        Table(tmp_path / "semicolons.csv", "y")
    (tmp_path / "sheet.xlsx").write_bytes(b"")
    with pytest.raises(WorkloadError, match=r"sheet.xlsx is neither CSV nor Parquet"):
        Table(tmp_path / "sheet.xlsx", "y")


def test_the_path_starts_from_the_sweep_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    customers().to_csv(tmp_path / "customers.csv", index=False)
    factory = located(Table, tmp_path)
    options = {"path": "customers.csv", "label": "left", "positive": "yes", "drop": ["day"]}

    facts = inspect_workload(factory, options)
    assert (facts.train_samples, facts.validation_samples) == (160, 40)
    with pytest.raises(WorkloadError, match=r"tables in that folder: customers\.csv"):
        inspect_workload(factory, options | {"path": "customer.csv"})
