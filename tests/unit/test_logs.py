"""Logs of trials: how they are written, read and shown."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_line import Cli
from hypothesis import given
from hypothesis import strategies as st
from live_events import began, followed, plan_event, trial
from plan_samples import plan
from trials_frame import Cell, rows, write_folder

import ddp_sweep
from ddp_sweep.cluster.driver.log_keeping import LogKeeper
from ddp_sweep.cluster.gang.output import OutputFile, Printed
from ddp_sweep.cluster.gang.trial_log import Source, TrialLog
from ddp_sweep.cluster.lane.schedule import Assignment
from ddp_sweep.cluster.lane.tuning import Ended
from ddp_sweep.live import LastOutput
from ddp_sweep.live.record import write_record
from ddp_sweep.live.trials import planned
from ddp_sweep.report.terminal import ranking_text
from ddp_sweep.results import ResultsFolder
from ddp_sweep.results.lock import locked
from ddp_sweep.results.logs import TrialLogs, follow_lines, log_text, read_line, short_id
from ddp_sweep.shown_text import harmless

NOW = datetime(2026, 1, 31, 14, 3, 6, 124_000, tzinfo=UTC)
NOW_S = NOW.timestamp()
RUNNING = trial(2, 64, 4, trial_id="e04f")


@pytest.fixture
def logs(tmp_path: Path) -> TrialLogs:
    return TrialLogs(tmp_path / "_logs")


def printed(text: str, stream: str = "out", end: int = 0) -> Printed:
    return Printed(
        stream="err" if stream == "err" else "out", time_s=NOW_S, text=text.encode(), end=end
    )


@given(st.lists(st.binary()), st.integers(0, 4096), st.booleans())
def test_every_line_says_who_printed_it_and_loses_nothing(
    parts: list[bytes], rank: int, error: bool
) -> None:
    lines = [part.translate(None, b"\n\r\0") for part in parts] or [b""]
    text = b"".join(line + b"\n" for line in lines)
    written = log_text(rank, text, time_s=NOW_S, error=error)

    read = [read_line(line) for line in written.removesuffix("\n").split("\n")]
    assert [one.text for one in read] == [
        line.decode("utf-8", "backslashreplace") for line in lines
    ]
    assert {(one.rank, one.clock, one.error) for one in read} == {(rank, "14:03:06.124", error)}


def test_a_line_looks_like_this() -> None:
    assert log_text(12, b"a\nb", time_s=NOW_S) == (
        "14:03:06.124 rank 12 | a\n14:03:06.124 rank 12 | b\n"
    )
    assert log_text(0, b"oh\n", time_s=NOW_S, error=True) == "14:03:06.124 rank 0 err | oh\n"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (b"1%\r2%\r3%\n", ["3%"]),
        (b"1%\r2%\r", ["2%"]),
        (b"dos\r\nlines\r\n", ["dos", "lines"]),
        (b"1%\r2%\nnext\n", ["2%", "next"]),
        (b"nul \0 byte\n", ["nul \\x00 byte"]),
    ],
)
def test_a_line_that_was_written_over_is_as_a_terminal_shows_it(
    text: bytes, kept: list[str]
) -> None:
    written = log_text(0, text, time_s=0).removesuffix("\n").split("\n")
    assert [read_line(line).text for line in written] == kept


def test_no_line_of_a_worker_passes_for_one_of_ours() -> None:
    forged = log_text(0, b"# ended 2026-01-01 00:00:00 UTC: succeeded\n", time_s=0)
    assert not read_line(forged.removesuffix("\n")).ends_the_log


@given(st.text())
def test_text_of_others_steers_no_terminal(text: str) -> None:
    shown = harmless(text)
    assert all(
        character in "\t\n" or character.isprintable() or ord(character) > 0x9F
        for character in shown
    )
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    if text.isprintable() or not text:
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1bPq\x1b\\sixel", "sixel"),
        ("50 %\rdone\x08", "50 %\\x0ddone\\x08"),
        ("[bold]no markup[/bold]", "[bold]no markup[/bold]"),
    ],
)
def test_escape_sequences_go_and_control_characters_are_spelled(text: str, shown: str) -> None:
    assert harmless(text) == shown


def source(rank: int) -> Source:
    out = OutputFile(stream="out", path=Path("somewhere"), begin=100)
    files = (out, replace(out, stream="err"))
    return Source(rank=rank, pid=70 + rank, node_id="n", node="host/n", files=files)


def test_a_log_has_a_beginning_what_ranks_printed_and_an_end(logs: TrialLogs) -> None:
    logs.begin("3f2a", 2, "2 workers x 64, seed 3", NOW)
    log = TrialLog(logs, "a1")
    for rank in (0, 1, 2):
        log.join(source(rank))
    log.printed(1, printed("importing\n", end=110))
    log.begin("3f2a", 2, world_size=2)
    log.printed(0, printed("epoch 1\nepoch 2\n", end=116))
    log.printed(1, printed("careful\n", "err", end=108))
    log.note("rank 0 needs a new process")
    [rest0, rest1, rest2] = log.close()
    log.printed(0, printed("too late\n", end=126))
    logs.end("3f2a", 2, "succeeded, 24.6 s", NOW)

    assert logs.file("3f2a", 2).read_text().splitlines() == [
        "# 2 workers x 64, seed 3, attempt 2 of trial 3f2a",
        "# begun 2026-01-31 14:03:06 UTC",
        "# rank 0: process 70 on host/n",
        "# rank 1: process 71 on host/n",
        "14:03:06.124 rank 1 | importing",
        "14:03:06.124 rank 0 | epoch 1",
        "14:03:06.124 rank 0 | epoch 2",
        "14:03:06.124 rank 1 err | careful",
        "# rank 0 needs a new process",
        "# ended 2026-01-31 14:03:06 UTC: succeeded, 24.6 s",
    ]
    assert [rest.positions for rest in (rest0, rest1, rest2)] == [
        (116, 100),
        (110, 108),
        (100, 100),
    ]
    assert {rest.log for rest in (rest0, rest1, rest2)} == {logs.file("3f2a", 2)}
    assert not list(logs.folder.glob("starting*"))


@given(order=st.permutations(range(8)), came=st.integers(0, 8))
def test_pieces_that_come_in_another_order_are_written_in_their_own(
    order: list[int], came: int
) -> None:
    pieces = [printed(f"line {k}\n", end=100 + 7 * (k + 1)) for k in range(8)]
    with tempfile.TemporaryDirectory() as folder:
        log = TrialLog(TrialLogs(Path(folder)), "a1")
        log.join(source(0))
        log.begin("3f2a", 1, world_size=1)
        for k in order[:came]:
            log.printed(0, pieces[k])
        [rest] = log.close()
        text = log_text_of(Path(folder))
    whole = next((k for k in range(8) if k not in order[:came]), 8)
    assert [line for line in text if "rank 0 |" in line] == [
        f"14:03:06.124 rank 0 | line {k}" for k in range(whole)
    ]
    # What came early is read again behind the piece that is missing.
    assert rest.positions == (100 + 7 * whole, 100)


def test_what_is_missing_is_not_waited_for_in_the_next_trial(logs: TrialLogs) -> None:
    logs.begin("3f2a", 1, "1 worker x 4, seed 0", NOW)
    log = TrialLog(logs, "a1")
    log.join(source(0))
    log.begin("3f2a", 1, world_size=1)
    log.printed(0, printed("later\n", end=200))
    log.begin("77aa", 1, world_size=1)
    log.printed(0, printed("next\n", end=205))
    log.printed(0, printed("late\n", end=195))
    log.printed(0, printed("then\n", end=210))
    assert log.close()[0].positions == (210, 100)
    assert "| later" in logs.file("3f2a", 1).read_text()
    assert "| late\n" in logs.file("77aa", 1).read_text()
    assert "| then" in logs.file("77aa", 1).read_text()
    assert "| next" in logs.file("77aa", 1).read_text()


def log_text_of(folder: Path) -> list[str]:
    return TrialLogs(folder).file("3f2a", 1).read_text().splitlines()


def test_a_log_that_cannot_be_written_hurts_nothing(tmp_path: Path) -> None:
    (tmp_path / "_logs").write_text("a file where the folder should be")
    logs = TrialLogs(tmp_path / "_logs")
    logs.begin("3f2a", 1, "1 worker x 4, seed 0", NOW)
    logs.end("3f2a", 1, "succeeded", NOW)
    assert logs.files() == ()
    assert logs.last_lines("3f2a", 1, most=3) == ()


def written(logs: TrialLogs, text: str, rank: int = 0) -> None:
    logs.append("t", 1, log_text(rank, text.encode(), time_s=NOW_S))


def test_the_last_lines_are_those_that_tell_why(logs: TrialLogs) -> None:
    logs.begin("t", 1, "2 workers x 4, seed 0", NOW)
    assert logs.last_lines("t", 1, most=2) == ()
    written(logs, "one\ntwo\n\n  three\n", rank=1)
    written(logs, "lost my peer\n", rank=0)
    logs.end("t", 1, "lost a worker", NOW)
    assert logs.last_lines("t", 1, most=2) == ("  three", "lost my peer")
    assert logs.last_lines("t", 1, most=2, rank=1) == ("two", "  three")
    # A rank that said nothing is no reason to say nothing.
    assert logs.last_lines("t", 1, most=1, rank=5) == ("lost my peer",)


def test_of_a_crash_the_beginning_of_its_stack_tells_why(logs: TrialLogs) -> None:
    logs.begin("t", 1, "1 worker x 4, seed 0", NOW)
    written(logs, "step 7\nFatal Python error: Segmentation fault\n\nCurrent thread 0x1f:\n")
    written(
        logs, "  File model.py, line 3\n" + "  File other.py\n" * 50 + "Extension modules: a, b\n"
    )
    assert logs.last_lines("t", 1, most=3) == (
        "Fatal Python error: Segmentation fault",
        "Current thread 0x1f:",
        "  File model.py, line 3",
    )


def test_of_a_hang_what_was_printed_before_its_stacks_tells_why(logs: TrialLogs) -> None:
    logs.begin("t", 1, "1 worker x 4, seed 0", NOW)
    written(logs, "step 7\nThread 0x00007fdd (most recent call first):\n  File x.py\n" * 1)
    assert logs.last_lines("t", 1, most=3) == ("step 7",)


def test_the_end_of_a_large_log_is_enough(logs: TrialLogs) -> None:
    logs.begin("t", 1, "1 worker x 4, seed 0", NOW)
    written(logs, "".join(f"line {number}\n" for number in range(50_000)))
    assert logs.last_lines("t", 1, most=2) == ("line 49998", "line 49999")


@given(st.lists(st.text("0f", min_size=6, max_size=12), unique=True, min_size=1))
def test_a_short_id_means_one_trial(ids: list[str]) -> None:
    for one in ids:
        short = short_id(one, ids)
        assert [other for other in ids if other.startswith(short)] == [one] or short == one


def test_a_log_is_followed_to_its_last_line(logs: TrialLogs) -> None:
    logs.begin("t", 1, "1 worker x 4, seed 0", NOW)
    looks = iter(["one\n", "two\nth", "ree\n", None])

    def goes_on() -> bool:
        text = next(looks)
        if text is None:
            logs.end("t", 1, "succeeded", NOW)
        else:
            with logs.file("t", 1).open("a") as file:
                file.write(text)
        return True

    lines = list(follow_lines(logs.file("t", 1), goes_on))
    assert lines[2:5] == ["one", "two", "three"]
    assert lines[-1].startswith("# ended")
    # What was written right before nobody writes any more is read as well.
    logs.begin("u", 1, "1 worker x 4, seed 0", NOW)

    def ends() -> bool:
        logs.append("u", 1, "the last\n")
        return False

    assert list(follow_lines(logs.file("u", 1), ends))[-1] == "the last"


def assignment(attempt: int = 1) -> Assignment:
    return Assignment(index=1, trial=plan().trials[1], attempt=attempt)


@pytest.fixture
def keeper(tmp_path: Path) -> LogKeeper:
    return LogKeeper.of(ResultsFolder(tmp_path / "a folder"), planned(plan()))


def test_the_driver_begins_and_ends_each_log(keeper: LogKeeper) -> None:
    keeper.begin(assignment())
    ended = Ended(status="succeeded", wall_time_s=24.62)
    assert keeper.end(assignment(), ended) is None

    trial = assignment().trial
    [file] = keeper.logs.files()
    assert (file.trial_id, file.attempt) == (trial.trial_id, 1)
    name, begun, end = file.path.read_text().splitlines()
    workers = "1 worker" if trial.world_size == 1 else "2 workers"
    assert name == f"# {workers} x 4, seed {trial.seed}, attempt 1 of trial {trial.trial_id}"
    assert keeper.logs.subject(file) == (f"{workers} x 4", trial.seed)
    assert begun.startswith("# begun 20")
    assert end.endswith(" UTC: succeeded, 24.6 s")


def test_a_failure_shows_the_last_lines_of_the_rank_that_caused_it(
    keeper: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper.begin(assignment())
    trial_id = assignment().trial.trial_id
    keeper.logs.append(trial_id, 1, log_text(1, b"all is well\n", time_s=NOW_S))
    keeper.logs.append(trial_id, 1, log_text(0, b"lost rank 1\n", time_s=NOW_S))
    died = Ended(status="worker_died", status_detail="rank 1: the worker process died")
    monkeypatch.chdir(keeper.folder.path.parent)
    assert keeper.end(assignment(), died) == LastOutput(
        lines=("all is well",), command=f"ddp-sweep logs 'a folder' {trial_id[:6]}"
    )
    assert (
        keeper.logs.file(trial_id, 1)
        .read_text()
        .endswith(": lost a worker: rank 1: the worker process died\n")
    )


@pytest.mark.parametrize("status", ["out_of_memory", "diverged", "interrupted"])
def test_what_needs_no_explaining_gets_none(keeper: LogKeeper, status: str) -> None:
    keeper.begin(assignment())
    assert keeper.end(assignment(), Ended(status=status, status_detail="nan\nat step 3")) is None
    [file] = keeper.logs.files()
    assert file.path.read_text().endswith(": at step 3\n")


def test_what_workers_said_before_they_had_a_trial_is_in_its_log(keeper: LogKeeper) -> None:
    keeper.begin(assignment())
    log = TrialLog(keeper.logs, "a1")
    log.join(source(0))
    log.printed(0, printed("no module named modle\n"))
    ended = Ended(status="workload_error", status_detail="rank 0: while starting", began=False)
    shown = keeper.end(assignment(), ended)
    assert shown is not None
    assert shown.lines == ("no module named modle",)
    assert not list(keeper.logs.folder.glob("starting*"))


def starting(keeper: LogKeeper, workers: str) -> TrialLog:
    """Workers that have said something and have no trial yet."""
    log = TrialLog(keeper.logs, workers)
    log.join(source(0))
    log.printed(0, printed(f"{workers} start\n"))
    return log


def test_side_by_side_each_trial_has_what_its_own_workers_said_while_they_started(
    keeper: LogKeeper,
) -> None:
    one, other, third = (
        Assignment(index=index, trial=plan().trials[index], attempt=1) for index in range(3)
    )
    for begun in (one, other, third):
        keeper.begin(begun)
    starting(keeper, "b1").begin(one.trial.trial_id, 1, world_size=1)
    of_third = starting(keeper, "b3")
    starting(keeper, "b2")

    keeper.end(one, Ended(status="succeeded", workers="b1"))
    keeper.end(other, Ended(status="workload_error", began=False, workers="b2"))
    of_third.begin(third.trial.trial_id, 1, world_size=1)
    # Of a process that died with its workers nobody knows which they were; only these are left.
    starting(keeper, "b4")
    keeper.end(third, Ended(status="worker_died"))

    said = [
        [line.rpartition("| ")[2] for line in text.splitlines() if " start" in line]
        for text in (
            keeper.logs.file(log.trial.trial_id, 1).read_text() for log in (one, other, third)
        )
    ]
    assert said == [["b1 start"], ["b2 start"], ["b3 start", "b4 start"]]
    assert not list(keeper.logs.folder.glob("starting*"))


def test_what_other_workers_said_is_left_to_them_where_nobody_knows_the_own_ones(
    keeper: LogKeeper,
) -> None:
    one, other = (
        Assignment(index=index, trial=plan().trials[index], attempt=1) for index in range(2)
    )
    keeper.begin(one)
    keeper.begin(other)
    starting(keeper, "b2")
    keeper.end(one, Ended(status="infeasible", began=False))
    assert "b2 start" not in keeper.logs.file(one.trial.trial_id, 1).read_text()
    keeper.end(other, Ended(status="workload_error", began=False, workers="b2"))
    assert "b2 start" in keeper.logs.file(other.trial.trial_id, 1).read_text()


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    """Four trials with a log; that of w2b64s1 was lost at its first attempt."""
    records = rows([Cell(world_size=2, batch=64)], seeds=4)
    for record in records:
        record["trial_id"] = f"{'abcd'[record['seed']]}0{record['seed']}f"
    lost = {**records[1], "status": "worker_died", "status_detail": "rank 1: it died"}
    records[1]["attempt"] = 2
    records[3]["status"] = "diverged"
    folder = write_folder(tmp_path / "results", [*records, lost])
    logs = TrialLogs(folder.logs)
    for record in [*records, lost]:
        key = record["trial_id"], record["attempt"]
        logs.begin(*key, f"2 workers x 64, seed {record['seed']}", NOW)
        for rank in (0, 1):
            said = f"rank {rank} of {key} \x1b[31m[bold]\n".encode()
            logs.append(*key, log_text(rank, said, time_s=NOW_S))
        logs.end(*key, "an end", NOW)
    (folder.logs / "notes.txt").write_text("no log")
    return folder


def test_the_list_begins_with_the_failures(cli: Cli, folder: ResultsFolder) -> None:
    listed = cli("logs", folder.path)
    assert listed.code == 0
    head, *lines = listed.out.rstrip().splitlines()
    assert head.split() == [
        "trial",
        "configuration",
        "seed",
        "attempt",
        "status",
        "size",
        "last",
        "line",
    ]
    words = [line.split() for line in lines]
    assert [line[0] for line in words] == ["b01f", "d03f", *("a00f", "b01f", "c02f")]
    assert "2 workers x 64" in lines[0]
    assert lines[0].split()[5:10] == ["1", "1", "lost", "a", "worker"]
    assert "diverged" in lines[1]
    # Neither markup nor a colour of the workload's.
    assert lines[0].rstrip().endswith("rank 1 of ('b01f', 1) [bold]")
    assert f"ddp-sweep logs {folder.path} b01f" in listed.err


def test_a_trial_is_named_by_the_beginning_of_its_id(cli: Cli, folder: ResultsFolder) -> None:
    shown = cli("logs", folder.path, "b0")
    assert shown.code == 0
    assert shown.out == TrialLogs(folder.logs).file("b01f", 2).read_text()
    assert "--attempt 1" in shown.err
    first = cli("logs", folder.path, "b01f", "--attempt", "1")
    assert first.out == TrialLogs(folder.logs).file("b01f", 1).read_text()
    assert first.err == ""


def test_one_rank_alone_can_be_asked_for(cli: Cli, folder: ResultsFolder) -> None:
    shown = cli("logs", folder.path, "a", "--rank", "1")
    assert [line for line in shown.out.splitlines() if not line.startswith("#")] == [
        "14:03:06.124 rank 1 | rank 1 of ('a00f', 1) \x1b[31m[bold]"
    ]
    none = cli("logs", folder.path, "a", "--rank", "7")
    assert none.code == 0
    assert "rank 7 printed nothing there; ranks that did: 0, 1" in none.err


def test_on_a_terminal_nothing_that_a_worker_printed_steers_it(
    cli: Cli, folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" in cli("logs", folder.path, "a").out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "\x1b" not in cli("logs", folder.path, "a").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["c20f"], 'no log of a trial "c20f"; did you mean "c02f"?'),
        (["zz"], 'no log of a trial "zz"; `ddp-sweep logs'),
        ([""], '"" begins the ids of 4 trials; give more of it: a00f, b01f, c02f, d03f'),
        (["b0", "--attempt", "3"], "trial b0 has no attempt 3; allowed: 1, 2"),
        (["--rank", "1"], "--rank 1 needs a TRIAL"),
        (["--attempt", "1"], "--attempt 1 needs a TRIAL"),
        (["--follow"], "nothing runs in"),
    ],
)
def test_what_cannot_be_shown_is_said(
    cli: Cli, folder: ResultsFolder, arguments: list[str], said: str
) -> None:
    refused = cli("logs", folder.path, *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err


def test_an_error_that_quotes_others_steers_no_terminal(cli: Cli, folder: ResultsFolder) -> None:
    refused = cli("logs", folder.path, "\x1b[31mzz")
    assert refused.code == 2
    assert 'no log of a trial "zz"' in refused.err


def test_what_a_workload_raised_steers_no_terminal_that_shows_a_ranking(tmp_path: Path) -> None:
    raised = {"status": "workload_error", "status_detail": "rank 0: \x1b[2J[bold]boom[/bold]"}
    cells = [
        Cell(world_size=1, batch=64),
        Cell(world_size=2, batch=64, columns=raised),
    ]
    ranking = ddp_sweep.rank(write_folder(tmp_path, rows(cells)).path, margins={"accuracy": 0.02})
    text = ranking_text(ranking)
    assert "[bold]boom[/bold]" in text
    assert "\x1b" not in text


def test_a_folder_without_logs_is_said_to_have_none(cli: Cli, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "results", rows([Cell(world_size=2, batch=64)], seeds=1))
    listed = cli("logs", folder.path)
    assert (listed.code, listed.out) == (0, "")
    assert "has a log yet" in listed.err
    assert cli("logs", folder.path, "a").code == 2
    nowhere = cli("logs", tmp_path / "nowhere", "a")
    assert nowhere.code == 2
    assert "no results folder" in nowhere.err


def test_a_running_trial_is_followed_until_its_end(cli: Cli, folder: ResultsFolder) -> None:
    logs = TrialLogs(folder.logs)
    logs.begin("e04f", 1, "2 workers x 64, seed 4", NOW)
    overview = followed([plan_event([RUNNING]), began(RUNNING)])

    def go_on() -> None:
        for number in range(3):
            time.sleep(0.2)
            logs.append("e04f", 1, log_text(0, f"epoch {number}\n".encode(), time_s=NOW_S))
        logs.end("e04f", 1, "succeeded", NOW)

    with locked(folder):
        write_record(folder, overview, now_s=NOW_S, resume_command="again")
        assert "running" in cli("logs", folder.path).out
        thread = threading.Thread(target=go_on)
        thread.start()
        shown = cli("logs", folder.path, "e04f", "--follow")
        thread.join()
    assert shown.code == 0
    assert shown.out == logs.file("e04f", 1).read_text()
    assert shown.out.count("epoch") == 3


def test_what_runs_is_followed_from_trial_to_trial(cli: Cli, folder: ResultsFolder) -> None:
    logs = TrialLogs(folder.logs)
    begun, release = threading.Event(), threading.Event()

    def sweep() -> None:
        with locked(folder):
            for number in (1, 2):
                logs.begin("e04f", number, "2 workers x 64, seed 4", NOW)
                overview = followed([plan_event([RUNNING]), began(RUNNING, number)])
                write_record(folder, overview, now_s=NOW_S, resume_command="again")
                begun.set()
                logs.append("e04f", number, log_text(0, b"hello\n", time_s=NOW_S))
                logs.end("e04f", number, "succeeded", NOW)
                release.wait(2.0)

    thread = threading.Thread(target=sweep)
    thread.start()
    begun.wait(30)
    shown = cli("logs", folder.path, "--follow")
    thread.join()
    assert shown.code == 0
    assert [line.split()[6] for line in shown.out.splitlines() if "attempt" in line] == [
        "4,",
        "4,",
    ]
    assert shown.out.count("hello") == 2
