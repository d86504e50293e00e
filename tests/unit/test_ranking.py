"""The way from rows to a ranking: who is compared with whom, who wins, and what is said of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from trials_frame import Cell, find, frame, rows, write_folder

from ddp_sweep.analysis import (
    Evidence,
    Ranking,
    RankingOptions,
    RecommendationStatus,
    Verdict,
    rank,
)
from ddp_sweep.errors import ResultsError, TableError
from ddp_sweep.results import load_results
from ddp_sweep.schema import EVALS

MARGINS = {"accuracy": 0.01}
SMALL = Cell(world_size=1, batch=64, seconds=12)
LARGE = Cell(world_size=1, batch=128, seconds=10)
WORSE = Cell(world_size=1, batch=256, seconds=8, accuracy=0.9)
TWO = Cell(world_size=2, batch=64, seconds=5.5)
GRID = [SMALL, LARGE, WORSE, TWO, Cell(world_size=2, batch=256, seconds=3.5, accuracy=0.9)]
COMPARABLE = {"traces_comparable": True}


def order(ranking: Ranking) -> list[str | None]:
    return [entry.configuration_id for entry in ranking.configurations]


def kinds(ranking: Ranking) -> set[str]:
    return {finding.kind for finding in ranking.findings}


# Who is compared with whom


def test_quality_is_judged_against_the_planned_batch_and_speed_against_the_best() -> None:
    ranking = rank(frame(rows(GRID)), margins=MARGINS, reference_batch_size=64)

    assert ranking.reference.configuration_id == SMALL.name
    assert ranking.baseline.configuration_id == LARGE.name  # the faster WORSE lost quality
    assert ranking.baseline.verdict is Verdict.BASELINE
    assert find(ranking, 1, 64).verdict is Verdict.NON_INFERIOR


@pytest.mark.parametrize(("wanted", "batch"), [(None, 64), (100, 128), (500, 256), (1, 64)])
def test_the_reference_has_the_nearest_batch_by_ratio(wanted: float | None, batch: int) -> None:
    ranking = rank(frame(rows(GRID)), reference_batch_size=wanted)

    assert ranking.reference.per_worker_batch_size == batch
    assert ranking.reference.world_size == 1


def test_without_quality_data_the_fastest_of_the_smallest_is_the_baseline() -> None:
    assert rank(frame(rows(GRID))).baseline.configuration_id == WORSE.name


def test_a_named_baseline_is_both_and_a_better_one_is_pointed_out() -> None:
    named = {"world_size": 1, "per_worker_batch_size": 64}
    ranking = rank(frame(rows(GRID)), margins=MARGINS, baseline=named)

    (finding,) = [f for f in ranking.findings if f.kind == "weak_baseline"]
    honest = rank(
        frame(rows(GRID)), margins=MARGINS, baseline=named | {"per_worker_batch_size": 128}
    )
    assert ranking.baseline is ranking.reference is find(ranking, 1, 64)
    assert finding.evidence["naive_speedup"] == find(ranking, 2, 64).speedup
    assert finding.evidence["honest_speedup"] == pytest.approx(find(honest, 2, 64).speedup)


def test_a_better_baseline_that_is_recommended_is_not_pointed_out_as_well() -> None:
    cells = [SMALL, Cell(world_size=1, batch=128, seconds=SMALL.seconds / 2)]
    named = {"world_size": 1, "per_worker_batch_size": SMALL.batch}

    ranking = rank(frame(rows(cells)), margins=MARGINS, baseline=named)

    assert ranking.recommendation.fastest is find(ranking, 1, 128)
    assert "weak_baseline" not in {finding.kind for finding in ranking.findings}


def test_a_baseline_may_be_named_by_any_setting() -> None:
    records = rows([SMALL, TWO])
    for record in records:
        record["parameters"] = json.dumps(
            {"optimizer": "sgd" if record["world_size"] == 1 else "adamw"}
        )

    assert rank(frame(records), baseline={"optimizer": "adamw"}).baseline.world_size == 2
    with pytest.raises(TableError, match="2 workers x 64"):
        rank(frame(records), baseline={"optimizer": "lion"})


def test_a_baseline_names_the_learning_rate_as_written_and_not_as_scaled() -> None:
    records = rows([SMALL, TWO])
    for record in records:
        one = record["world_size"] == 1
        record["parameters"] = json.dumps({"learning_rate": 0.05 if one else 0.1})
        record["learning_rate"] = 0.1 if one else 0.2

    assert rank(frame(records), baseline={"learning_rate": 0.1}).baseline.world_size == 2


def test_options_come_from_the_sweep_file_unless_given(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, rows(GRID))
    folder.spec_file.write_text(
        "training: {reference_batch_size: 128}\n"
        "quality: {margins: {accuracy: 0.01}}\n"
        "baseline: auto\n"
    )

    ranking = rank(tmp_path)

    assert ranking.reference.configuration_id == LARGE.name
    assert ranking.conditions.margins == MARGINS
    assert rank(load_results(tmp_path)).to_json() == ranking.to_json()
    assert rank(tmp_path, margins={"accuracy": 0.2}).conditions.margins == {"accuracy": 0.2}
    assert RankingOptions.from_spec_mapping({}) == RankingOptions()


# The same updates


def twins(**changes: Any) -> tuple[list[Cell], list[dict[str, Any]]]:
    cells = [
        Cell(world_size=1, batch=64, seconds=12, columns=COMPARABLE),
        Cell(world_size=2, batch=32, seconds=7, columns=COMPARABLE | changes),
    ]
    return cells, rows(cells, seeds=1)


def test_the_same_updates_need_no_seeds() -> None:
    _, records = twins()

    ranking = rank(frame(records))

    entry = find(ranking, 2)
    assert (entry.verdict, entry.evidence) == (Verdict.NON_INFERIOR, Evidence.SAME_UPDATES)
    assert entry.reason == "quality held: same updates as 1 worker x 64"
    assert ranking.recommendation.status is RecommendationStatus.PROVISIONAL
    assert ranking.recommendation.fastest is entry


def test_a_commit_that_leaves_the_source_alone_changes_no_update() -> None:
    _, records = twins(code_version="a1b2:source")
    records[0]["code_version"] = "c3d4:source"

    assert find(rank(frame(records)), 2).evidence is Evidence.SAME_UPDATES


@pytest.mark.parametrize(
    "change",
    [
        {"traces_comparable": False},
        {"traces_comparable": None},
        {"gradient_error": 1e-3},
        {"gradient_error": None},
        {"learning_rate": 0.1},
        {"compute_precision": "bfloat16"},
        {"parameters": '{"epochs": 9}'},
        {"code_version": "changed"},
        {"per_worker_batch_size": 64, "global_batch_size": 128},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_updates_are_not_taken_for_the_same(change: dict[str, Any]) -> None:
    _, records = twins(**change)

    entry = find(rank(frame(records)), 2)

    assert (entry.verdict, entry.evidence) == (Verdict.INCONCLUSIVE, Evidence.NONE)


def test_a_twin_shares_a_loss_of_quality_as_well() -> None:
    cells = [
        Cell(world_size=1, batch=64, columns=COMPARABLE),
        Cell(world_size=1, batch=256, accuracy=0.9, columns=COMPARABLE),
        Cell(world_size=2, batch=128, accuracy=0.9, columns=COMPARABLE),
    ]

    entry = find(rank(frame(rows(cells)), margins=MARGINS), 2)

    assert (entry.verdict, entry.evidence) == (Verdict.INFERIOR, Evidence.SAME_UPDATES)


def test_seeds_that_show_a_loss_are_believed_over_the_same_updates() -> None:
    cells, _ = twins()
    broken = Cell(world_size=2, batch=32, accuracy=0.9, columns=COMPARABLE)

    entry = find(rank(frame(rows([cells[0], broken])), margins=MARGINS), 2)

    assert (entry.verdict, entry.evidence) == (Verdict.INFERIOR, Evidence.SEEDS)
    assert "same_updates_contradicted" in {finding.kind for finding in entry.findings}


# Order and recommendation


def test_held_then_unknown_then_lost_then_failed_each_by_speedup() -> None:
    records = rows([*GRID, Cell(world_size=4, batch=32, seconds=4, accuracy=0.94)])
    for record in rows([Cell(world_size=8, batch=8, seconds=1)]):
        records.append(record | {"status": "out_of_memory", "train_time_s": None})

    ranking = rank(frame(records), margins=MARGINS)

    assert order(ranking) == ["w2b64", "w1b128", "w1b64", "w4b32", "w2b256", "w1b256", "w8b8"]
    assert ranking.configurations[-1].reason == "did not finish: 5 of 5 ran out of memory"


def test_the_fastest_whose_quality_held_is_recommended_provisionally() -> None:
    ranking = rank(frame(rows(GRID)), margins=MARGINS)
    recommendation = ranking.recommendation

    assert recommendation.status is RecommendationStatus.PROVISIONAL
    assert recommendation.fastest is find(ranking, 2, 64)
    assert recommendation.settings == {
        "world_size": 2,
        "per_worker_batch_size": 64,
        "accumulation_steps": 1,
        "global_batch_size": 128,
        "learning_rate": 0.1,
        "torchrun": "torchrun --standalone --nproc-per-node 2 train.py",
    }


def test_nothing_is_recommended_while_a_faster_one_is_undecided() -> None:
    undecided = Cell(world_size=2, batch=64, seconds=5.5, accuracy=0.94)
    recommendation = rank(frame(rows([SMALL, undecided])), margins=MARGINS).recommendation

    assert recommendation.status is RecommendationStatus.NONE
    assert (recommendation.fastest, recommendation.settings) == (None, None)
    assert "not yet known" in recommendation.reason


@pytest.mark.parametrize("seconds", [12.5, 12.0, 30.0])
def test_the_baseline_stays_where_nothing_was_shown_to_be_faster(seconds: float) -> None:
    slow = Cell(world_size=2, batch=64, seconds=seconds)
    ranking = rank(frame(rows([SMALL, slow])), margins=MARGINS)

    assert ranking.recommendation.fastest is ranking.baseline


def test_what_the_data_cannot_tell_from_the_winner_is_tied_with_it() -> None:
    close = Cell(world_size=4, batch=32, seconds=5.5)
    ranking = rank(frame(rows([SMALL, LARGE, TWO, close])), margins=MARGINS)

    recommendation = ranking.recommendation
    assert {recommendation.fastest.world_size, recommendation.tied_with[0].world_size} == {2, 4}
    assert len(recommendation.tied_with) == 1


def test_ties_are_found_by_paired_tests_corrected_for_their_number() -> None:
    seconds = {2: 5.5, 4: 5.55, 8: 5.65, 16: 5.7, 32: 5.75, 64: 6.5}
    cells = [Cell(world_size=w, batch=64, seconds=s) for w, s in seconds.items()]
    records = rows([SMALL, *cells])
    recommendation = rank(frame(records), margins=MARGINS).recommendation
    winner = recommendation.fastest.configuration_id

    logs = {cell.name: [] for cell in [SMALL, *cells]}
    for record in records:
        logs[record["configuration_id"]].append(np.log(record["train_time_s"]))
    p_values = {
        name: stats.ttest_rel(values, logs[winner], alternative="greater").pvalue
        for name, values in logs.items()
        if name != winner
    }
    tied = {name for name, p_value in p_values.items() if p_value >= 0.05 / len(p_values)}
    assert {entry.configuration_id for entry in recommendation.tied_with} == tied
    assert tied != {name for name, p_value in p_values.items() if p_value >= 0.05}


def test_the_front_holds_what_no_other_beats_in_speed_and_cost() -> None:
    cells = [SMALL, LARGE, TWO, Cell(world_size=4, batch=32, seconds=5.6), WORSE]
    ranking = rank(frame(rows(cells)), margins=MARGINS)

    front = [entry.configuration_id for entry in ranking.recommendation.pareto]
    assert front == [TWO.name, LARGE.name]
    assert ranking.recommendation.cheapest is find(ranking, 1, 128)


@pytest.mark.parametrize(("seconds", "advised"), [(5.5, True), (5.66, False), (6.5, False)])
def test_a_cheaper_one_is_advised_only_if_shown_to_be_nearly_as_fast(
    seconds: float, advised: bool
) -> None:
    fast = Cell(world_size=4, batch=32, seconds=5.45)
    cheap = Cell(world_size=2, batch=64, seconds=seconds)
    ranking = rank(frame(rows([SMALL, fast, cheap], seeds=10)), margins=MARGINS)

    recommendation = ranking.recommendation
    assert recommendation.fastest is find(ranking, 4)
    assert recommendation.advised is (find(ranking, 2) if advised else None)
    assert ("take the cheaper one" in recommendation.reason) is advised


def test_the_cost_ratio_is_that_of_worker_hours_or_money() -> None:
    records = rows([SMALL, TWO])
    hours = find(rank(frame(records)), 2).cost_ratio
    for record in records:
        record["cost"] = 3.5 * record["worker_hours"]

    assert find(rank(frame(records)), 2).cost_ratio == pytest.approx(hours)
    assert hours == pytest.approx(2 * 6 / 12.5, rel=0.05)


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_never_recommend_another_update_rule(seeds: int) -> None:
    recommendation = rank(frame(rows(GRID, seeds)), margins=MARGINS).recommendation

    assert recommendation.status is RecommendationStatus.NONE


# What is pointed out


def test_the_edge_of_the_grid_and_an_untried_batch_are_pointed_out() -> None:
    cells = [Cell(world_size=1, batch=32), Cell(world_size=2, batch=64, seconds=5)]
    assert {"edge_of_grid", "batch_untried_on_smallest"} <= kinds(
        rank(frame(rows(cells)), margins=MARGINS)
    )

    middle = [Cell(world_size=1, batch=b, seconds=s) for b, s in [(32, 12), (64, 10), (128, 11)]]
    middle += [Cell(world_size=2, batch=b, seconds=s) for b, s in [(16, 8), (32, 5), (64, 6)]]
    assert kinds(rank(frame(rows(middle)), margins=MARGINS)) == {"idle_cores"}


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"oversubscribed": True}, "oversubscribed"),
        ({"placement": "packed"}, "packed"),
        ({"status": "interrupted"}, "lost_runs"),
        ({"other_load": 0.5}, "noisy_measurement"),
        ({"eval_samples": 361}, "evaluation_incomplete"),
        ({"gang_id": "one"}, "within_one_start"),
    ],
)
def test_findings(change: dict[str, Any], kind: str) -> None:
    plain = [SMALL, TWO]
    changed = [SMALL, Cell(world_size=2, batch=64, seconds=5.5, columns=change)]

    assert kind not in kinds(rank(frame(rows(plain)), margins=MARGINS))
    assert kind in kinds(rank(frame(rows(changed)), margins=MARGINS))


def test_a_super_linear_speedup_says_what_made_it() -> None:
    fast = Cell(world_size=2, batch=64, seconds=4)
    entry = find(rank(frame(rows([SMALL, fast]))), 2)

    (finding,) = entry.findings
    assert finding.kind == "super_linear"
    assert "each worker processed" in finding.message


def test_files_that_were_left_out_are_pointed_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, rows([SMALL, TWO]))
    (folder.trials / "notes.txt").write_text("mine")

    (finding,) = [f for f in rank(tmp_path).findings if f.kind == "unreadable_file"]

    assert "notes.txt" in finding.message


# Targets


def evaluations(records: list[dict[str, Any]], hit: int) -> list[dict[str, Any]]:
    """Ten evaluations a trial; from number ``hit`` on the accuracy is .9, before it .5."""
    return [
        record
        | {
            "epoch": step * 0.8,
            "samples": step * 100,
            "train_time_s": record["train_time_s"] * step / 10,
            "accuracy": 0.5 if step < hit * record["world_size"] else 0.9 + record["seed"] / 1000,
        }
        for record in records
        for step in range(1, 11)
    ]


def write_evaluations(path: Path, records: list[dict[str, Any]], hit: int) -> None:
    found = evaluations(records, hit)
    columns = {name: [record.get(name) for record in found] for name in EVALS.names}
    pq.write_table(pa.table(columns, schema=EVALS), path / "evals" / "all-1.parquet")


def test_time_samples_and_quality_are_those_of_the_evaluation_that_met_the_target(
    tmp_path: Path,
) -> None:
    records = rows([SMALL, TWO])
    write_folder(tmp_path, records)
    for file in (tmp_path / "evals").iterdir():
        file.unlink()
    write_evaluations(tmp_path, records, hit=3)

    ranking = rank(tmp_path, target={"accuracy": 0.85}, margins=MARGINS)

    entry = find(ranking, 2)
    plain = find(rank(frame(records)), 2)
    assert entry.speedup == pytest.approx(plain.speedup / 2)  # at evaluation 6 instead of 3
    assert entry.statistical_efficiency == pytest.approx(0.5)
    assert entry.throughput_efficiency == pytest.approx(plain.scaling_efficiency)
    assert entry.metrics["accuracy"].value == pytest.approx(0.902)
    assert entry.metrics["accuracy"].end_value == plain.metrics["accuracy"].end_value
    assert ranking.conditions.to_target


def test_runs_that_missed_the_target_count(tmp_path: Path) -> None:
    records = rows([SMALL, TWO])
    write_folder(tmp_path, records)
    for file in (tmp_path / "evals").iterdir():
        file.unlink()
    write_evaluations(tmp_path, records, hit=6)  # two workers would need evaluation 12

    entry = find(rank(tmp_path, target={"accuracy": 0.85}), 2)

    assert entry.n_not_converged == 5
    assert entry.verdict is Verdict.FAILED
    assert entry.speedup is None
    assert "missed the target accuracy 0.85" in entry.reason


def test_a_target_needs_the_evaluations() -> None:
    with pytest.raises(TableError, match="rank the results folder"):
        rank(frame(rows([SMALL, TWO])), target={"accuracy": 0.9})


# Which rows


def test_only_the_final_attempt_of_a_trial_counts() -> None:
    records = rows([SMALL, TWO])
    earlier = [
        record | {"attempt": 1, "status": "worker_died", "accuracy": None} for record in records
    ]
    later = [record | {"attempt": 2} for record in records]

    assert rank(frame(earlier + later)).to_json() == rank(frame(records)).to_json()


def test_a_run_that_failed_before_its_first_sample_is_only_a_failure() -> None:
    records = rows([SMALL, TWO])
    records[-1].update(status="diverged", train_time_s=0.0, samples=0, accuracy=None)

    entry = find(rank(frame(records)), 2)

    assert (entry.n_seeds, entry.n_failed) == (5, 1)
    assert entry.speedup == pytest.approx(12 / 5.5, rel=0.1)


def test_the_reference_stays_where_only_one_of_its_runs_could_not_run() -> None:
    records = rows(GRID)
    records[0].update(status="workload_error", train_time_s=None, accuracy=None)

    ranking = rank(frame(records), margins=MARGINS)

    assert ranking.reference.configuration_id == SMALL.name
    assert ranking.reference.verdict is Verdict.FAILED
    assert find(ranking, 2, 64).verdict is Verdict.NON_INFERIOR


def test_our_trials_as_csv_rank_as_the_folder_does(tmp_path: Path) -> None:
    records = rows(GRID)
    for record in records:
        record.update(recall=0.75, confusion_matrix=[[300, 10], [12, 38]])
    trials = frame(records)
    trials.to_csv(tmp_path / "trials.csv", index=False)

    shown = rank(tmp_path / "trials.csv", margins=MARGINS).to_frame()

    expected = rank(trials, margins=MARGINS).to_frame()
    compared = ["configuration_id", "speedup", "speedup_low", "accuracy_low", "verdict"]
    pd.testing.assert_frame_equal(shown[compared], expected[compared])


def test_numbers_of_nodes_are_configurations_of_their_own() -> None:
    records = rows([SMALL, TWO])
    spread = [
        r | {"trial_id": r["trial_id"] + "n", "num_nodes": 2}
        for r in records
        if r["world_size"] == 2
    ]

    ranking = rank(frame(records + spread))

    assert sorted((e.world_size, e.num_nodes, e.n_seeds) for e in ranking.configurations) == [
        (1, 1, 5),
        (2, 1, 5),
        (2, 2, 5),
    ]
    assert len({entry.name for entry in ranking.configurations}) == 3


def test_an_attempt_that_never_reached_a_worker_counts_with_its_configuration() -> None:
    records = rows([SMALL, TWO])
    records[-1].update(status="out_of_memory", num_nodes=None, train_time_s=None, accuracy=None)

    entry = find(rank(frame(records)), 2)

    assert (entry.n_seeds, entry.n_failed, entry.num_nodes) == (5, 1, 1)


def test_a_folder_without_trials_is_an_error(tmp_path: Path) -> None:
    write_folder(tmp_path, [])
    with pytest.raises(ResultsError, match="has ended yet"):
        rank(tmp_path)


# What is handed on


def test_the_frame_has_a_row_for_each_configuration_in_order_of_rank() -> None:
    ranking = rank(frame(rows(GRID)), margins=MARGINS)

    table = ranking.to_frame()

    assert table["rank"].tolist() == [1, 2, 3, 4, 5]
    assert table["configuration_id"].tolist() == order(ranking)
    assert table["accuracy_verdict"].iloc[0] == "non_inferior"


def test_ranking_needs_neither_torch_nor_ray_nor_the_slow_part_of_scipy() -> None:
    heavy = ("torch", "ray", "scipy.stats", "sklearn", "typer", "pydantic")
    script = f"import ddp_sweep.analysis, sys; print([m for m in {heavy} if m in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert done.stdout.strip() == "[]"


def test_trials_side_by_side_claim_no_speedup_and_are_judged_on_quality() -> None:
    """They are each other's load, which is no finding; and their times give no winner."""
    beside = {"placement": "packed", "other_load": 0.8}
    cells = [
        Cell(world_size=1, batch=64, seconds=10, columns=beside),
        Cell(world_size=2, batch=32, seconds=5, columns=beside),
        Cell(world_size=4, batch=16, seconds=3, accuracy=0.80, columns=beside),
    ]
    ranking = rank(frame(rows(cells)), margins=MARGINS)

    assert all(entry.speedup is None for entry in ranking.configurations)
    verdicts = {entry.world_size: entry.verdict.value for entry in ranking.configurations}
    assert verdicts == {1: "baseline", 2: "non_inferior", 4: "inferior"}
    assert ranking.recommendation.status.value == "none"
    assert "trials ran side by side" in ranking.recommendation.reason
    assert "placement: exclusive" in ranking.recommendation.reason
    (finding,) = [one for one in ranking.findings if one.kind == "packed"]
    assert "Verdicts on quality are not touched" in finding.message
    assert "noisy_measurement" not in kinds(ranking)
