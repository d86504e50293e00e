"""The numbers behind each chart, against plain computations on the frame."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from report_samples import CLASSES, TARGET, loaded, loss_at, many_cells, measured
from trials_frame import MLPERF, Cell, frame, mlperf, rows, table

from ddp_sweep.report.page.charts.confusion import MOST_CLASSES, ConfusionInfo, confusion_info
from ddp_sweep.report.page.charts.efficiency import EfficiencyInfo, efficiency_info
from ddp_sweep.report.page.charts.losses import BINS, LossInfo, losses_info
from ddp_sweep.report.page.charts.quality import QualityInfo, quality_info
from ddp_sweep.report.page.charts.samples import SamplesInfo, samples_info
from ddp_sweep.report.page.charts.speedup import SpeedupInfo, speedup_info
from ddp_sweep.report.page.charts.step_time import StepTimeInfo, step_time_info
from ddp_sweep.report.page.charts.tradeoff import TradeoffInfo, tradeoff_info
from ddp_sweep.report.page.emphasis import OTHER, Outcome, emphasize
from ddp_sweep.report.page.figure import Missing
from ddp_sweep.report.page.gallery import compute_charts
from ddp_sweep.report.page.material import Material, gather
from ddp_sweep.report.page.palette import SERIES

MARGINS: dict[str, float | str] = {"accuracy": 0.01}
GRID = [
    Cell(
        world_size=size,
        batch=batch,
        seconds=24 / size**0.85 / (1 + batch / 400),
        accuracy=0.95 if size * batch < 512 else 0.9,
    )
    for size, batch in itertools.product((1, 2, 4), (64, 128, 256))
]


def records() -> list[dict[str, Any]]:
    """Nine configurations; of one the runs ran out of memory, of another a run missed the target.

    Samples to the target are those of the columns: no evaluations are given beside them.
    """
    found = measured(GRID)
    for record in found:
        if record["configuration_id"] == "w4b256":
            record.update(status="out_of_memory", train_time_s=None, accuracy=None)
            record.update(time_to_target_s=None, samples_to_target=None, confusion_matrix=None)
        if record["trial_id"] == "w4b128s0":
            record.update(time_to_target_s=None, samples_to_target=None)
    return found


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    return frame(records())


@pytest.fixture(scope="module")
def material(trials: pd.DataFrame) -> Material:
    return gather(trials, margins=MARGINS)


@pytest.fixture(scope="module")
def full() -> Material:
    """With evaluations and steps, without a target."""
    return gather(loaded(measured(GRID[:5], target=False)), margins=MARGINS)


def named(material: Material) -> dict[str, str]:
    """Name of each configuration by its id."""
    return {str(e.configuration_id): e.name for e in material.entries}


def geometric_mean(values: pd.Series[float]) -> float:
    product = math.prod(float(value) for value in values)
    return float(product ** (1 / len(values)))


def test_a_speedup_is_the_ratio_of_geometric_means(
    material: Material, trials: pd.DataFrame
) -> None:
    info = speedup_info(material)

    assert isinstance(info, SpeedupInfo)
    names = named(material)
    groups = trials.groupby("configuration_id")["time_to_target_s"]
    times = {names[i]: geometric_mean(g) for i, g in groups if g.notna().all()}
    baseline = times[material.ranking.baseline.name]
    shown = {point.name: point for point in info.points}
    assert len(times) == 7
    for name, time in times.items():
        assert shown[name].speedup == pytest.approx(baseline / time)
        low, high = shown[name].low, shown[name].high
        assert low is not None and high is not None
        assert low <= shown[name].speedup <= high
    assert names["w4b256"] not in shown
    assert any(names["w4b256"] in note for note in info.notes)


def test_the_ideal_line_is_proportional_to_the_workers_of_the_baseline(
    material: Material,
) -> None:
    info = speedup_info(material)

    assert isinstance(info, SpeedupInfo)
    assert material.ranking.baseline.world_size == 1
    assert info.ideal == ((1, 1.0), (2, 2.0), (4, 4.0))


def test_the_cells_of_the_heat_map_multiply(material: Material, trials: pd.DataFrame) -> None:
    info = efficiency_info(material)

    assert isinstance(info, EfficiencyInfo)
    assert info.with_samples
    assert {(cell.world_size, cell.batch) for cell in info.cells} == {
        (cell.world_size, cell.world_size * cell.batch) for cell in GRID
    }
    names = named(material)
    groups = trials.groupby("configuration_id")["samples_to_target"]
    needed = {names[i]: geometric_mean(g) for i, g in groups if g.notna().all()}
    baseline = needed[material.ranking.baseline.name]
    for cell in info.cells:
        if cell.name not in needed:
            continue
        assert cell.scaling is not None and cell.speed_kept is not None
        assert cell.extra_samples == pytest.approx(needed[cell.name] / baseline - 1)
        assert cell.scaling == pytest.approx(cell.speed_kept / (1 + cell.extra_samples))


def test_an_unmeasured_cell_is_unknown_and_not_zero(material: Material) -> None:
    info = efficiency_info(material)

    assert isinstance(info, EfficiencyInfo)
    (failed,) = [cell for cell in info.cells if cell.batch == 1024]
    assert (failed.scaling, failed.speed_kept, failed.extra_samples) == (None, None, None)


def test_every_finished_seed_is_a_dot(full: Material) -> None:
    info = quality_info(full)

    assert isinstance(info, QualityInfo)
    (panel,) = info.panels
    trials = full.attempts
    names = named(full)
    expected = sorted(
        (names[row.configuration_id], int(row.global_batch_size), row.accuracy)
        for row in trials.itertuples()
    )
    assert sorted((dot.name, dot.batch, dot.value) for dot in panel.dots) == expected


def test_the_band_reaches_from_the_mean_of_the_reference_as_far_as_the_margin(
    full: Material,
) -> None:
    info = quality_info(full)

    assert isinstance(info, QualityInfo)
    own = full.attempts["configuration_id"] == full.ranking.reference.configuration_id
    mean = sum(full.attempts.loc[own, "accuracy"]) / own.sum()
    assert info.panels[0].reference == pytest.approx(mean)
    assert info.panels[0].margin_end == pytest.approx(mean - 0.01)


def test_the_band_of_a_loss_lies_above_and_may_be_relative() -> None:
    found = gather(frame(rows(GRID[:3])), margins={"val_loss": "2%"})

    info = quality_info(found)

    assert isinstance(info, QualityInfo)
    assert info.panels[0].reference == pytest.approx(0.15)
    assert info.panels[0].margin_end == pytest.approx(0.15 * 1.02)


def test_a_floor_stands_in_the_panel_of_the_same_values() -> None:
    records = measured(GRID[:2], target=False)
    for record in records:
        record["per_class_recall"] = [1.0, record["recall"], 0.5]

    info = quality_info(
        gather(
            frame(records), margins={"recall": 0.02}, floors={"recall[dog]": 0.8, "recall[2]": 0.4}
        )
    )

    assert isinstance(info, QualityInfo)
    assert [(panel.metric, panel.floor) for panel in info.panels] == [
        ("recall", 0.8),
        ("recall[2]", 0.4),
    ]


def test_samples_to_the_target_are_those_of_the_runs_that_met_it(
    material: Material, trials: pd.DataFrame
) -> None:
    info = samples_info(material)

    assert isinstance(info, SamplesInfo)
    met = trials["samples_to_target"].dropna()
    assert sorted(dot.samples for dot in info.dots) == sorted(met.astype(float))
    assert info.missed == len(trials) - len(met) == 6
    assert any("6 runs" in note for note in info.notes)


def test_time_and_cost_are_relative_to_the_baseline(
    material: Material, trials: pd.DataFrame
) -> None:
    info = tradeoff_info(material)

    assert isinstance(info, TradeoffInfo)
    names = named(material)
    baseline = material.ranking.baseline
    assert baseline.configuration_id is not None
    for identity, group in trials.groupby("configuration_id"):
        if group["time_to_target_s"].isna().any():
            continue
        (point,) = [p for p in info.points if p.name == names[str(identity)]]
        own = trials[trials["configuration_id"] == baseline.configuration_id]
        ratio = geometric_mean(group["time_to_target_s"]) / geometric_mean(own["time_to_target_s"])
        workers = int(group["world_size"].iloc[0]) / baseline.world_size
        assert point.time_ratio == pytest.approx(ratio)
        assert point.cost_ratio == pytest.approx(ratio * workers)


def test_nothing_of_known_quality_beats_the_front_in_both(material: Material) -> None:
    info = tradeoff_info(material)

    assert isinstance(info, TradeoffInfo)
    held = [point for point in info.points if point.outcome is Outcome.HELD]
    undominated = {
        point.name
        for point in held
        if not any(
            other.time_ratio <= point.time_ratio
            and other.cost_ratio <= point.cost_ratio
            and other is not point
            for other in held
        )
    }
    assert {point.name for point in info.points if point.on_front} == undominated
    assert len(undominated) > 1


def test_rejected_configurations_say_why(material: Material) -> None:
    info = tradeoff_info(material)

    assert isinstance(info, TradeoffInfo)
    rejected = [point for point in info.points if point.rejected]
    assert rejected
    for point in rejected:
        assert any(point.name in note and point.reason in note for note in info.notes)


def test_validation_curves_are_means_over_the_seeds(full: Material) -> None:
    info = losses_info(full)

    assert isinstance(info, LossInfo)
    assert len(info.validation) == 5
    for curve in info.validation:
        samples = [8 * 1437 * k // 5 for k in range(1, 6)]
        means = [sum(loss_at(at, seed) + 0.1 for seed in range(5)) / 5 for at in samples]
        assert [point.samples for point in curve.points] == samples
        assert [point.loss for point in curve.points] == pytest.approx(means)


def test_a_training_curve_is_the_mean_of_equal_spans(full: Material) -> None:
    info = losses_info(full)

    assert isinstance(info, LossInfo)
    (name,) = [e.name for e in full.entries if e.configuration_id == "w1b64"]
    (curve,) = [found for found in info.training if found.name == name]
    last = 11496 // 64 * 64
    spans: dict[int, list[float]] = defaultdict(list)
    for step in range(1, last // 64 + 1):
        for seed in range(5):
            spans[math.ceil(step * 64 * BINS / last)].append(loss_at(step * 64, seed))
    means = [sum(found) / len(found) for _, found in sorted(spans.items())]
    assert [point.loss for point in curve.points] == pytest.approx(means)


def test_seconds_follow_the_training_time_at_the_evaluations(full: Material) -> None:
    info = losses_info(full)

    assert isinstance(info, LossInfo)
    trials = full.attempts
    for curve in info.training:
        identity = {e.name: e.configuration_id for e in full.entries}[curve.name]
        own = trials[trials["configuration_id"] == identity]
        for point in curve.points:
            share = point.samples / (8 * 1437)
            # Evaluations fall on whole samples, so the line between them is off by less than one.
            assert point.seconds == pytest.approx(own["train_time_s"].mean() * share, rel=1e-3)


def test_a_long_run_has_a_short_curve() -> None:
    found = measured([Cell(world_size=1, batch=1)], seeds=1, target=False)

    info = losses_info(gather(loaded(found), margins=MARGINS))

    assert isinstance(info, LossInfo)
    assert found[0]["samples"] == 11496
    assert [len(curve.points) for curve in info.training] == [BINS]


def test_a_loss_that_is_no_number_is_left_out_of_the_means() -> None:
    records = measured(GRID[:1], target=False)
    results = loaded(records)
    evals = results.evals.copy()
    evals.loc[evals["seed"] == 0, "val_loss"] = math.inf
    found = gather(type(results)(**{**vars(results), "evals": evals}), margins=MARGINS)

    info = losses_info(found)

    assert isinstance(info, LossInfo)
    last = info.validation[0].points[-1]
    assert last.loss == pytest.approx(
        sum(loss_at(8 * 1437, seed) + 0.1 for seed in range(1, 5)) / 4
    )


def test_the_parts_of_a_step_are_means_of_the_trials() -> None:
    records = measured(GRID[:4], target=False)
    for record in records:
        record["communication_fraction"] = 0.1 + 0.01 * record["seed"]
    found = gather(frame(records), margins=MARGINS)

    info = step_time_info(found)

    assert isinstance(info, StepTimeInfo)
    trials, names = frame(records), named(found)
    for identity, group in trials.groupby("configuration_id"):
        (bar,) = [b for b in info.bars if b.name == names[str(identity)]]
        steps = group["optimizer_steps"].astype(float)
        assert bar.step_ms == pytest.approx(1000 * (group["train_time_s"] / steps).mean())
        assert bar.communication == pytest.approx(0.12)
        assert bar.data_wait == pytest.approx(0.02 * int(group["world_size"].iloc[0]))
        assert bar.data_wait + bar.communication + bar.rest == pytest.approx(1)


def test_communication_that_was_not_measured_is_said_to_be_missing(full: Material) -> None:
    info = step_time_info(full)

    assert isinstance(info, StepTimeInfo)
    assert [bar.communication for bar in info.bars] == [None] * 5
    assert any("communication was not measured" in note for note in info.notes)


def test_confusion_matrices_are_sums_over_the_finished_runs() -> None:
    records = measured(GRID[:5], target=False)
    for record in records:
        if record["seed"] == 1:
            record["status"] = "worker_died"
    found = gather(frame(records), margins=MARGINS)

    info = confusion_info(found)

    assert isinstance(info, ConfusionInfo)
    assert info.classes == CLASSES
    assert [matrix.role for matrix in info.matrices] == ["quality reference", "recommended"]
    ids = {entry.name: entry.configuration_id for entry in found.entries}
    for matrix in info.matrices:
        total = [[0] * 3 for _ in range(3)]
        for record in records:
            if record["configuration_id"] == ids[matrix.name] and record["seed"] != 1:
                for i, j in itertools.product(range(3), range(3)):
                    total[i][j] += record["confusion_matrix"][i][j]
        assert [list(row) for row in matrix.counts] == total
        assert matrix.recall == pytest.approx([total[i][i] / 480 for i in range(3)])


def test_of_many_classes_those_are_shown_whose_recall_changes_most() -> None:
    records = measured(GRID[:4], target=False)
    for record in records:
        counts = np.diag([100] * 50)
        if record["world_size"] == 2:
            for index in range(5, 50, 10):
                counts[index, index], counts[index, 0] = 40, 60
        record["confusion_matrix"] = counts.tolist()
        record["class_names"] = [f"class {index}" for index in range(50)]
    found = gather(frame(records), margins=MARGINS)

    info = confusion_info(found)

    assert isinstance(info, ConfusionInfo)
    assert len(info.classes) == MOST_CLASSES
    assert {f"class {index}" for index in range(5, 50, 10)} <= set(info.classes)
    assert any("Of 50 classes" in note for note in info.notes)
    recall = dict(zip(info.classes, info.matrices[1].recall, strict=True))
    assert recall["class 15"] == pytest.approx(0.4)


def test_a_foreign_table_has_the_charts_its_columns_allow() -> None:
    found = gather(mlperf("I_rnnt_hpe_8_128"), margins={"samples_to_target": "10%"})

    charts = {chart.kind.key: chart.info for chart in compute_charts(found)}

    drawn = {key for key, info in charts.items() if not isinstance(info, Missing)}
    assert drawn == {"speedup", "efficiency", "samples", "tradeoff"}
    for info in charts.values():
        if isinstance(info, Missing):
            assert info.reason.endswith(".")


def test_a_file_of_our_trials_keeps_the_columns_that_no_verdict_rests_on(tmp_path: Path) -> None:
    records = measured(GRID[:4], target=False)
    file = tmp_path / "trials.parquet"
    pq.write_table(table(records), file)

    found = gather(file, margins=MARGINS)

    assert step_time_info(found) == step_time_info(gather(frame(records), margins=MARGINS))
    assert len(found.attempts) == len(records)
    assert list(found.runs["trial_id"]) == list(found.measured.runs["trial_id"])


def test_a_table_under_its_own_names_with_rows_left_out_gives_the_same_chart() -> None:
    runs = pd.read_csv(MLPERF).rename(columns={"world_size": "gpus"})
    runs["seconds"] = runs["run_duration_s"].where(runs["converged"])

    found = gather(
        runs,
        columns={"world_size": "gpus", "time_to_target_s": "seconds"},
        where={"set_id": "I_rnnt_hpe_8_128"},
        margins={"samples_to_target": "10%"},
    )

    plain = gather(mlperf("I_rnnt_hpe_8_128"), margins={"samples_to_target": "10%"})
    assert speedup_info(found) == speedup_info(plain)
    assert samples_info(found) == samples_info(plain)
    assert len(found.attempts) == len(plain.attempts) == 50


@pytest.mark.parametrize(
    ("key", "columns", "word"),
    [
        ("samples", ["time_to_target_s", "samples_to_target"], "no target was set"),
        ("step_time", ["data_wait_fraction"], "data_wait_fraction"),
        ("confusion", ["confusion_matrix"], "confusion matrix"),
        ("quality", ["accuracy", "recall", "val_loss"], "No quality was measured"),
        ("losses", [], "optimizer steps or of the evaluations"),
    ],
)
def test_a_chart_without_its_data_says_which_is_missing(
    key: str, columns: list[str], word: str
) -> None:
    records = measured(GRID[:2])
    for record in records:
        record.update(dict.fromkeys(columns))

    found = gather(frame(records), margins=MARGINS)
    (info,) = [chart.info for chart in compute_charts(found) if chart.kind.key == key]

    assert isinstance(info, Missing)
    assert word in info.reason


def test_of_200_configurations_as_many_are_in_colour_as_can_be_told_apart() -> None:
    found = gather(loaded(measured(many_cells(200), seeds=1)), margins=MARGINS, target=TARGET)

    emphasis = emphasize(found.ranking)

    assert len(emphasis.colours) == len(SERIES)
    assert emphasis.note is not None and f"{len(SERIES)} of 200" in emphasis.note
    assert found.ranking.baseline.name in emphasis
    assert found.ranking.reference.name in emphasis
    others = {entry.name for entry in found.entries if entry.name not in emphasis}
    assert {emphasis.legend_label(name) for name in others} == {OTHER}


def test_the_recommended_configuration_is_in_the_first_colour(full: Material) -> None:
    emphasis = emphasize(full.ranking)
    fastest = full.ranking.recommendation.fastest

    assert fastest is not None
    assert emphasis.colours[fastest.name] == SERIES[0]
    assert emphasis.note is None
    assert len(set(emphasis.colours.values())) == len(full.entries)
