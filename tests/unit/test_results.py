"""Reading a results folder: types, the final attempt, and files that are not ours."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trials_frame import Cell, frame, rows, table, write_folder

from ddp_sweep.errors import ResultsError
from ddp_sweep.results import ResultsFolder, ResultsWarning, SeedPurpose, load_results
from ddp_sweep.schema import EVALS, SCHEMA_VERSION, STEPS, TRIALS

CELLS = [Cell(world_size=1, batch=64), Cell(world_size=2, batch=32)]


def test_an_empty_folder_gives_empty_tables_with_every_column(tmp_path: Path) -> None:
    results = load_results(tmp_path)

    assert list(results.trials.columns) == [*TRIALS.names, "final"]
    assert list(results.evals.columns) == EVALS.names
    assert list(results.steps.columns) == STEPS.names
    assert results.trials.empty
    assert results.spec is None


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="nowhere"):
        load_results(tmp_path / "nowhere")


@pytest.mark.parametrize("records", [[], rows(CELLS, seeds=1)], ids=["empty", "with rows"])
def test_columns_have_the_same_types_with_and_without_rows(
    tmp_path: Path, records: list[dict[str, object]]
) -> None:
    write_folder(tmp_path, records)

    trials = load_results(tmp_path).trials

    assert trials["seed"].dtype == pd.Int64Dtype()
    assert trials["oversubscribed"].dtype == pd.BooleanDtype()
    assert trials["accuracy"].dtype == "float64"
    assert trials["started_at"].dtype == "datetime64[us, UTC]"
    assert trials["final"].dtype == bool


def test_null_stays_null_and_whole_numbers_stay_whole(tmp_path: Path) -> None:
    record = rows(CELLS, seeds=1)[0] | {"num_nodes": None, "seed": 2**53 + 1}
    write_folder(tmp_path, [record])

    trials = load_results(tmp_path).trials

    assert trials["num_nodes"].isna().all()
    assert trials["seed"].iloc[0] == 2**53 + 1
    assert trials["time_to_target_s"].isna().all()


def test_the_highest_attempt_of_each_trial_is_final(tmp_path: Path) -> None:
    first, second = rows(CELLS, seeds=1)
    write_folder(tmp_path, [first, first | {"attempt": 10}, first | {"attempt": 2}, second])

    trials = load_results(tmp_path).trials

    final = trials.loc[trials["final"], ["trial_id", "attempt"]].to_records(index=False).tolist()
    assert sorted(final) == [(first["trial_id"], 10), (second["trial_id"], 1)]
    assert len(trials) == 4


def test_pandas_reads_the_same_rows_without_us(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, rows(CELLS))

    theirs = pd.read_parquet(folder.trials)
    ours = load_results(tmp_path).trials

    assert sorted(theirs["trial_id"]) == sorted(ours["trial_id"])
    assert theirs["accuracy"].sum() == pytest.approx(ours["accuracy"].sum())


def damage_truncated(folder: ResultsFolder) -> Path:
    file = folder.trials / "truncated.parquet"
    file.write_bytes(next(folder.trials.glob("*.parquet")).read_bytes()[:100])
    return file


def damage_foreign(folder: ResultsFolder) -> Path:
    file = folder.trials / "foreign.parquet"
    pq.write_table(pa.table({"world_size": [1]}), file)
    return file


def damage_nulls(folder: ResultsFolder) -> Path:
    file = folder.trials / "foreign-1.parquet"
    nulls = {name: [None] for name in TRIALS.names} | {"trial_id": ["foreign"]}
    pq.write_table(pa.table(nulls, schema=TRIALS), file)
    return file


def damage_text(folder: ResultsFolder) -> Path:
    file = folder.trials / "notes.txt"
    file.write_text("mine")
    return file


def damage_newer(folder: ResultsFolder) -> Path:
    file = folder.trials / "newer.parquet"
    newer = table(rows(CELLS, seeds=1))
    metadata = {"ddp_sweep.schema_version": str(SCHEMA_VERSION + 1)}
    pq.write_table(newer.replace_schema_metadata(metadata), file)
    return file


@pytest.mark.parametrize(
    "damage", [damage_truncated, damage_foreign, damage_nulls, damage_text, damage_newer]
)
def test_a_file_that_cannot_be_used_is_left_out_and_named(tmp_path: Path, damage) -> None:  # noqa: ANN001
    folder = write_folder(tmp_path, rows(CELLS))
    file = damage(folder)

    with pytest.warns(ResultsWarning, match=re.escape(str(file))):
        results = load_results(tmp_path)

    assert len(results.trials) == 10
    assert len(results.problems) == 1


def test_files_that_are_still_being_written_are_no_problem(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, rows(CELLS))
    (folder.trials / ".w1b64s9-1.parquet.123").write_bytes(b"half")
    (folder.trials / "_scratch").write_bytes(b"")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = load_results(tmp_path)

    assert len(results.trials) == 10


def test_metrics_of_a_workload_come_along(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [])
    record = rows(CELLS, seeds=1)[0] | {"metric_iou": 0.5}
    pq.write_table(table([record], metrics=("iou",)), folder.trials / "with-1.parquet")
    pq.write_table(table([record | {"trial_id": "b"}]), folder.trials / "without-1.parquet")

    trials = load_results(tmp_path).trials.set_index("trial_id")

    assert trials["metric_iou"][record["trial_id"]] == 0.5
    assert pd.isna(trials["metric_iou"]["b"])


def test_the_sweep_file_comes_along_where_it_can_be_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [])
    folder.spec_file.write_text("name: digits\nquality: {margins: {accuracy: 0.01}}\n")
    assert load_results(tmp_path).spec == {
        "name": "digits",
        "quality": {"margins": {"accuracy": 0.01}},
    }

    folder.spec_file.write_text("name: [digits\n")
    with pytest.warns(ResultsWarning, match="_sweep"):
        assert load_results(tmp_path).spec is None


def test_an_attempt_has_one_file_in_each_table(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)

    files = [folder.attempt_file(name, "abc", 2) for name in ("trials", "evals", "steps")]

    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "trials/abc-2.parquet",
        "evals/abc-2.parquet",
        "steps/abc-2.parquet",
    ]


def test_the_frame_of_the_tests_is_the_frame_of_a_folder(tmp_path: Path) -> None:
    records = rows(CELLS)
    write_folder(tmp_path, records)

    loaded = load_results(tmp_path).trials.sort_values("trial_id", ignore_index=True)

    pd.testing.assert_frame_equal(
        loaded, frame(records).sort_values("trial_id", ignore_index=True)
    )


def test_added_seeds_are_read_in_their_order(tmp_path: Path) -> None:
    write_folder(tmp_path, rows(CELLS, seeds=1))
    (tmp_path / "_seeds.yaml").write_text(
        "- {purpose: sweep, seeds: [0, 1], session_id: first}\n"
        "- {purpose: more_seeds, seeds: [2], configuration_ids: [abc, def]}\n"
    )

    swept, more = load_results(tmp_path).additions

    assert (swept.purpose, swept.seeds, swept.session_id) == (SeedPurpose.SWEEP, (0, 1), "first")
    assert swept.configuration_ids is None
    assert (more.purpose, more.seeds) == (SeedPurpose.MORE_SEEDS, (2,))
    assert more.configuration_ids == ("abc", "def")


@pytest.mark.parametrize("text", ["- {purpose: luck, seeds: [1]}", "seeds", "[", "- [1]"])
def test_a_list_of_seeds_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    write_folder(tmp_path, rows(CELLS, seeds=1))
    (tmp_path / "_seeds.yaml").write_text(text)

    with pytest.warns(ResultsWarning, match=r"_seeds\.yaml was left out"):
        results = load_results(tmp_path)

    assert results.additions == ()
    assert len(results.trials) == len(CELLS)
