"""A results folder that somebody made to harm whoever looks at it."""

from __future__ import annotations

import json
import os
import pickle
import pty
import select
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from live_events import plan_event
from live_events import trial as planned_trial
from page_parser import read_page
from report_samples import measured, write_results
from trials_frame import Cell

from ddp_sweep.errors import ResultsError
from ddp_sweep.live.record import write_plan
from ddp_sweep.results import ResultsFolder, local_path
from ddp_sweep.schema import TRIALS
from ddp_sweep.shown_text import shown

PROGRAM = [sys.executable, "-c", "from ddp_sweep.cli import main; main()"]
CELLS = [Cell(world_size=1, batch=64), Cell(world_size=2, batch=32, seconds=6.0)]
SPEC = """
name: digits
workload: ddp_sweep.workloads.digits:Digits
sweep: {world_size: [1, 2], global_batch_size: [64]}
seeds: 3
training: {epochs: 8, learning_rate: 0.05}
"""
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\r[red]bold[/red]\u202e<script>alert(1)</script>"
"""Renames the window, clears the screen, goes back, has markup, turns text round, and is HTML."""


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self._file}",)


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    return write_results(tmp_path / "digits", measured(CELLS, seeds=3), SPEC)


def call(folder: ResultsFolder, verb: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, verb, str(folder.path), *options],
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_bomb_goes_off_where_it_is_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "went-off")))
    assert (tmp_path / "went-off").exists()


def test_no_pickle_is_read_by_the_analysis(folder: ResultsFolder, tmp_path: Path) -> None:
    mark = tmp_path / "went-off"
    bomb = pickle.dumps(Bomb(mark))
    for place in (folder.path, folder.trials, folder.attempts, folder.checkpoints, folder.logs):
        place.mkdir(exist_ok=True)
        for name in ("bomb.pkl", "bomb-1.json", "bomb-1.parquet", "bomb.npy", "_bomb.pickle"):
            (place / name).write_bytes(bomb)
    for file in (folder.progress_file, folder.plan_file, folder.lock_file):
        file.write_bytes(bomb)
    folder.seeds_file.write_text(f'!!python/object/apply:os.system ["touch {mark}"]')
    np.save(folder.trials / "objects.npy", np.array([Bomb(mark)], dtype=object))
    _plant_in_parquet(folder, bomb)

    for verb in ("rank", "report", "status"):
        done = call(folder, verb)
        assert not mark.exists(), verb
        assert "Traceback" not in done.stderr
        assert done.returncode == 0, done.stderr
    said = call(folder, "status").stderr
    for name in ("bomb.pkl", "bomb-1.parquet", "objects.npy", "extension-1.parquet"):
        assert f"{name} was left out" in said, name


def _plant_in_parquet(folder: ResultsFolder, bomb: bytes) -> None:
    """As the type of a column, as what pandas wrote of its index, and in a column of bytes."""
    some = next(folder.trials.glob("w*.parquet"))
    table = pq.read_table(some)
    fields = [
        field.with_metadata(
            {
                b"ARROW:extension:name": b"arrow.py_extension_type",
                b"ARROW:extension:metadata": bomb,
            }
        )
        if field.name == "correct_bits"
        else field
        for field in TRIALS
    ]
    extension = pa.schema(fields, metadata={b"pandas": bomb, b"ddp_sweep.table": b"trials"})
    columns = {name: table[name] for name in table.column_names}
    pq.write_table(pa.table(columns, schema=extension), folder.trials / "extension-1.parquet")
    bits = pa.array([bomb], pa.binary())
    index = table.column_names.index("correct_bits")
    metadata = {**(table.schema.metadata or {}), b"pandas": bomb}
    table = table.set_column(index, "correct_bits", bits).replace_schema_metadata(metadata)
    pq.write_table(table, some)


@pytest.fixture
def hostile(tmp_path: Path) -> ResultsFolder:
    records = []
    for note, seconds in ((f"first {EVIL}", 6.0), (f"second {EVIL}", 9.0)):
        cells = [*CELLS[:1], replace(CELLS[1], seconds=seconds)]
        options = json.dumps({"workload": EVIL, "workload_options.note": note})
        for record in measured(cells, seeds=3):
            own = {name: f"{record[name]}{note[0]}" for name in ("trial_id", "configuration_id")}
            records.append(record | own | {"parameters": options, "class_names": [EVIL, "b", "c"]})
    failed = records[-1] | {
        "attempt": 2,
        "status": "workload_error",
        "status_detail": f"rank 0:\nValueError: {EVIL}",
    }
    folder = write_results(tmp_path / "digits", [*records, failed], SPEC)
    plan = [
        replace(
            planned_trial(record["world_size"], 64, record["seed"]),
            trial_id=record["trial_id"],
            configuration_id=record["configuration_id"],
            distinction=f"note {EVIL}",
        )
        for record in records
    ]
    write_plan(folder, plan_event(plan))
    return folder


def on_a_terminal(folder: ResultsFolder, verb: str) -> str:
    """What a terminal is sent, colours and all."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, verb, str(folder.path)],
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "160"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    received = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        received += piece
    os.close(ours)
    assert process.wait(60) == 0, received.decode()
    return received.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("verb", ["rank", "status"])
def test_a_terminal_is_given_no_orders_by_text(hostile: ResultsFolder, verb: str) -> None:
    sent = on_a_terminal(hostile, verb)

    for order in ("\x1b]", "\x07", "\x1b[2J", "\x9b", "\r", "\u202e"):
        assert order not in sent, repr(order)
    assert "\\x1b]0;owned" in sent.replace("\n", "")
    # Words in brackets are words, and not a colour.
    assert "[red]bold" in sent


@pytest.mark.parametrize("options", [[], ["--format", "markdown"]])
def test_neither_is_what_stands_behind_a_pipe(hostile: ResultsFolder, options: list[str]) -> None:
    done = call(hostile, "rank", *options)
    assert done.returncode == 0, done.stderr
    assert not set("\x1b\x07\x9b\r\u202e") & set(done.stdout + done.stderr)


def test_a_page_shows_it_as_text(hostile: ResultsFolder) -> None:
    done = call(hostile, "report")
    assert done.returncode == 0, done.stderr
    html = (hostile.path / "report.html").read_text()

    page = read_page(html)
    assert len(page.all("script")) == 1, "ours"
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_what_is_shown_loses_nothing() -> None:
    assert shown("a\tb\nc é 漢 🎉") == "a\tb\nc é 漢 🎉"
    assert shown("\x1b\x00\x9f\u202e\ud800") == "\\x1b\\x00\\x9f\\u202e\\ud800"


@pytest.mark.parametrize(
    "address", ["s3://bucket/x", "gs://b", Path("s3://bucket/x"), "file:///x", "abfs://c@a/x"]
)
def test_an_address_is_no_results_folder(address: str | Path) -> None:
    with pytest.raises(ResultsError, match=r"received the address \w+://.*aws s3 sync") as refused:
        local_path(address)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("path", ["C:/x", "results/a:b", "/x", "a", "x://"[:2], "~/x"])
def test_a_path_is_a_path(path: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert local_path(path) == Path(path)
