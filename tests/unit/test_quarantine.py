"""What lies in the folders of the tables and is no part of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trials_frame import Cell, rows, table, write_folder

from ddp_sweep.analysis import rank
from ddp_sweep.errors import ResultsError
from ddp_sweep.results import ResultsFolder, ResultsWarning, load_results
from ddp_sweep.results.quarantine import quarantine_curves, quarantine_rows
from ddp_sweep.schema import SCHEMA_VERSION

CELLS = [Cell(world_size=1, batch=64), Cell(world_size=2, batch=32)]


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    made = write_folder(tmp_path, rows(CELLS, seeds=2))
    made.spec_file.write_text("name: digits\n")
    return made


def truncated(folder: ResultsFolder) -> Path:
    file = folder.trials / "w1b64s0-1.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    return file


def empty(folder: ResultsFolder) -> Path:
    file = folder.trials / "w1b64s0-1.parquet"
    file.write_bytes(b"")
    return file


def flipped(folder: ResultsFolder) -> Path:
    """A bit of one page: whatever is read there would look like a measurement."""
    file = folder.trials / "w1b64s0-1.parquet"
    pq.write_table(pq.read_table(file), file, write_page_checksum=True)
    column = pq.read_metadata(file).row_group(0).column(0)
    found = bytearray(file.read_bytes())
    found[column.data_page_offset + 40] ^= 1
    file.write_bytes(bytes(found))
    return file


def foreign(folder: ResultsFolder) -> Path:
    file = folder.trials / "foreign.parquet"
    pq.write_table(pa.table({"world_size": [1]}), file)
    return file


def of_another_sweep(folder: ResultsFolder) -> Path:
    file = folder.trials / "other-1.parquet"
    record = rows(CELLS, seeds=1)[0] | {"sweep": "fraud", "trial_id": "other"}
    pq.write_table(table([record]), file)
    return file


def copied(folder: ResultsFolder) -> Path:
    file = folder.trials / "a copy of w1b64s0-1.parquet"
    file.write_bytes((folder.trials / "w1b64s0-1.parquet").read_bytes())
    return file


def notes(folder: ResultsFolder) -> Path:
    file = folder.trials / "notes.csv"
    file.write_text("mine")
    return file


def subfolder(folder: ResultsFolder) -> Path:
    file = folder.trials / "old.parquet"
    file.mkdir()
    (file / "part.parquet").write_bytes((folder.trials / "w1b64s0-1.parquet").read_bytes())
    return file


LOST = "its trial is run again"
STRANGE = "it is no part of this sweep"


@pytest.mark.parametrize(
    ("plant", "reason", "meaning", "left"),
    [
        (truncated, "it cannot be read", LOST, 3),
        (empty, "it is empty", LOST, 3),
        (flipped, "it cannot be read", LOST, 3),
        (foreign, "it was not written by ddp-sweep", STRANGE, 4),
        (of_another_sweep, "it is of another sweep, fraud", STRANGE, 4),
        (copied, "it is a copy of w1b64s0-1.parquet", STRANGE, 4),
        (notes, "it is no Parquet file", STRANGE, 4),
        (subfolder, "it is no Parquet file", STRANGE, 4),
    ],
)
def test_it_is_named_by_readers_and_moved_by_a_run(
    folder: ResultsFolder,
    plant: Callable[[ResultsFolder], Path],
    reason: str,
    meaning: str,
    left: int,
) -> None:
    file = plant(folder)
    with pytest.warns(ResultsWarning, match=f"{file.name}.* was left out: {reason}"):
        assert len(load_results(folder.path).trials) == left
    assert file.exists()

    (said,) = quarantine_rows(folder)

    moved = folder.quarantine / "trials" / file.name
    assert said.startswith(f"{file} was moved to {moved}: {reason}")
    assert said.endswith(meaning)
    assert moved.exists() and not file.exists()
    assert len(load_results(folder.path).trials) == left
    assert quarantine_rows(folder) == ()


def test_where_nothing_can_be_read_a_ranking_says_which_files_were_left_out(
    folder: ResultsFolder,
) -> None:
    for file in folder.trials.iterdir():
        file.write_bytes(b"")
    with pytest.raises(ResultsError, match=r"w1b64s0-1.parquet was left out: it is empty"):
        rank(folder.path)


def test_what_is_planted_twice_is_kept_twice(folder: ResultsFolder) -> None:
    for text in ("first", "second"):
        (folder.trials / "notes.csv").write_text(text)
        quarantine_rows(folder)
    kept = {file.read_text() for file in (folder.quarantine / "trials").iterdir()}
    assert kept == {"first", "second"}


def test_a_damaged_attempt_before_the_last_one_runs_nothing(folder: ResultsFolder) -> None:
    file = truncated(folder)
    later = rows(CELLS, seeds=1)[0] | {"attempt": 2}
    pq.write_table(table([later]), folder.attempt_file("trials", later["trial_id"], 2))
    (said,) = quarantine_rows(folder)
    assert file.name in said
    assert said.endswith("a later attempt at its trial counts")


def test_curves_of_no_row_are_moved_and_damaged_ones_named(folder: ResultsFolder) -> None:
    damaged = folder.evals / "w1b64s0-1.parquet"
    damaged.write_bytes(damaged.read_bytes()[:50])
    folder.attempt_file("trials", "w2b32s1", 1).unlink()
    (folder.steps / "notes.txt").write_text("mine")

    said = quarantine_curves(folder)

    assert [sentence.partition(" was moved")[0] for sentence in said] == [
        str(folder.evals / "w1b64s0-1.parquet"),
        str(folder.evals / "w2b32s1-1.parquet"),
        str(folder.steps / "notes.txt"),
        str(folder.steps / "w2b32s1-1.parquet"),
    ]
    assert said[0].endswith("the result of its trial is kept, without its evals")
    assert "no row in trials belongs to it" in said[1]
    assert {len(list(folder.table(name).iterdir())) for name in ("evals", "steps")} == {2, 3}


def test_a_result_that_cannot_be_read_for_now_is_not_taken_for_lost(
    folder: ResultsFolder,
) -> None:
    file = folder.trials / "w1b64s0-1.parquet"
    newer = {"ddp_sweep.schema_version": str(SCHEMA_VERSION + 1)}
    pq.write_table(pq.read_table(file).replace_schema_metadata(newer), file)
    with pytest.raises(ResultsError, match="install a newer ddp-sweep"):
        quarantine_rows(folder)
    assert file.exists()


def test_a_folder_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    folder.trials.mkdir()
    mine = folder.trials / "study.csv"
    mine.write_text("patient,arm\n")
    with pytest.raises(ResultsError, match="no sweep wrote what is in"):
        quarantine_rows(folder)
    assert mine.exists()
