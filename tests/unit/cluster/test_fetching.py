"""The way of results through a log: what arrives is what was there, or nothing does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddp_sweep.cluster.submission import packing
from ddp_sweep.cluster.submission.fetching import place, unpack
from ddp_sweep.errors import FetchError, FolderInUseError
from ddp_sweep.results import ResultsFolder
from ddp_sweep.results.lock import locked

FILES = {
    "trials/a-1.parquet": b"PAR1 trials" * 3,
    "evals/a-1.parquet": b"",
    "steps/a-1.parquet": os.urandom(150_000),
    "_sweep.yaml": "name: é\n".encode(),
    "_logs/rank-0.log": b"ddp-sweep-results:{}\n",
    "_attempts/a-1.json": b"{}",
}
NOT_SENT = {
    "_lock": b"process 1",
    "_checkpoints/a.pt": b"weights",
    "_progress.json.4711": b"half",
    "trials/_a-2.parquet.12": b"half",
    "steps/.hidden": b"x",
}


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / "there"
    for name, contents in {**FILES, **NOT_SENT}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(contents)
    return folder


def packed(folder: Path, after: str = "", most_bytes: int | None = None) -> str:
    """What the program prints, run as the cluster runs it: its source alone."""
    source = Path(packing.__file__).read_text(encoding="utf-8")
    if most_bytes is not None:
        source = source.replace("MOST_BYTES = 32 * 1024**2", f"MOST_BYTES = {most_bytes}")
    command = [sys.executable, "-I", "-c", source, str(folder), after]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "_lock"
    }


def test_every_whole_file_arrives_as_it_was(there: Path, tmp_path: Path) -> None:
    parcel = unpack(packed(there))

    assert parcel.files == FILES
    assert parcel.folder == str(there)
    assert place(parcel.files, ResultsFolder(tmp_path / "here"), "job x") == len(FILES)
    assert contents(tmp_path / "here") == FILES


def test_other_lines_of_the_log_do_no_harm(there: Path) -> None:
    lines = packed(there).splitlines(keepends=True)
    noisy = "Running entrypoint\n" + "".join(f"{line}(pid=7) a warning: é\r\n" for line in lines)

    assert unpack(noisy).files == FILES


def test_a_large_folder_comes_in_parts_without_gap_or_repetition(there: Path) -> None:
    files: dict[str, bytes] = {}
    after, parts = "", 0
    while True:
        parcel = unpack(packed(there, after, most_bytes=1))
        assert not files.keys() & parcel.files.keys()
        files |= parcel.files
        after, parts = next(reversed(parcel.files), after), parts + 1
        if not parcel.more:
            break

    assert files == FILES
    assert parts > 2


def test_a_trial_that_ends_between_two_parts_leaves_nothing_half(there: Path) -> None:
    first = unpack(packed(there, most_bytes=1))
    for table in ("trials", "evals", "steps"):  # sorts before what was sent already
        (there / table / "0-1.parquet").write_bytes(b"new")
    rest = unpack(packed(there, next(reversed(first.files))))

    trials = {name for name in {**first.files, **rest.files} if name.startswith("trials/")}
    assert {f"steps/{name.removeprefix('trials/')}" for name in trials} <= rest.files.keys()


@given(st.data())
def test_a_log_that_breaks_off_or_is_damaged_is_never_taken_for_whole(data: st.DataObject) -> None:
    log = DAMAGED
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(log) - len('"files": 1}\n') - 1))
        log = log[:cut]
    else:
        at = data.draw(st.integers(0, len(log) - 1))
        log = log[:at] + data.draw(st.sampled_from('AZ9+\n "}')) + log[at + 1 :]
    try:
        parcel = unpack(log)
    except FetchError:
        return
    assert parcel.files == {"trials/a-1.parquet": b"some rows " * 30}


def _a_log() -> str:
    import base64
    import hashlib

    rows = b"some rows " * 30
    lines = [
        {"folder": "/there"},
        {"name": "trials/a-1.parquet", "sha256": hashlib.sha256(rows).hexdigest()},
        {"piece": base64.b64encode(rows[:200]).decode()},
        {"piece": base64.b64encode(rows[200:]).decode()},
        {"complete": True, "files": 1},
    ]
    return "".join(f"{packing.MARK}{json.dumps(line)}\n" for line in lines)


DAMAGED = _a_log()


def test_what_goes_while_it_is_sent_is_left_out(
    there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the record of an attempt does, once the attempt has its row."""
    names = [*FILES, "_attempts/gone-1.json"]
    monkeypatch.setattr(packing, "files_to_send", lambda *_: names)
    packing.main(str(there))

    assert unpack(capsys.readouterr().out).files == FILES


def test_a_folder_that_is_not_there_yet_is_no_error(tmp_path: Path) -> None:
    parcel = unpack(packed(tmp_path / "none"))

    assert parcel.files == {}
    assert parcel.folder is None
    assert not parcel.more


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "trials/../../x", "other/x", "x", ""])
def test_a_name_that_leaves_the_folder_is_refused(name: str) -> None:
    lines = [{"name": name, "sha256": ""}, {"complete": True, "files": 1}]
    with pytest.raises(FetchError, match="belongs in no results folder"):
        unpack("".join(f"{packing.MARK}{json.dumps(line)}\n" for line in lines))


def test_fetching_again_changes_nothing_and_later_brings_what_is_new(
    there: Path, tmp_path: Path
) -> None:
    here = ResultsFolder(tmp_path / "here")
    place(unpack(packed(there)).files, here, "job x")
    before = {file: file.stat().st_mtime_ns for file in here.trials.iterdir()}

    assert place(unpack(packed(there)).files, here, "job x") == 0
    (there / "trials" / "b-1.parquet").write_bytes(b"more")
    (there / "_sweep.yaml").write_bytes(b"changed")
    assert place(unpack(packed(there)).files, here, "job x") == 2
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_results_of_another_run_are_never_mixed_with_them(there: Path, tmp_path: Path) -> None:
    here = ResultsFolder(tmp_path / "here")
    files = unpack(packed(there)).files
    for stranger in ("trials/z-1.parquet", "trials/a-1.parquet"):
        (here.path / stranger).parent.mkdir(parents=True, exist_ok=True)
        (here.path / stranger).write_bytes(b"measured here")

        with pytest.raises(FetchError, match=r"holds other results than job x.*--output DIR"):
            place(files, here, "job x")
        assert contents(here.path) == {stranger: b"measured here"}
        (here.path / stranger).unlink()


def test_curves_without_their_trial_are_no_results_of_another_run(tmp_path: Path) -> None:
    """A driver that died between the two left them; the next one set them aside."""
    here = ResultsFolder(tmp_path / "here")
    kept = {f"{table}/a-1.parquet": b"1" for table in ("trials", "evals", "steps")}
    place({**kept, "evals/b-1.parquet": b"half", "steps/b-1.parquet": b"half"}, here, "job x")
    later = {f"{table}/b-2.parquet": b"2" for table in ("trials", "evals")}
    files = {**kept, **later, "_quarantine/evals/b-1.parquet": b"half"}

    assert place(files, here, "job y") == 3
    assert contents(here.path) == files

    # Of an attempt that is here, nothing is touched.
    with pytest.raises(FetchError, match="holds other results"):
        place(dict.fromkeys(kept, b"other"), here, "job z")
    assert contents(here.path) == files


def test_a_folder_that_a_run_writes_to_is_left_alone(there: Path, tmp_path: Path) -> None:
    here = ResultsFolder(tmp_path / "here")
    here.path.mkdir()
    files = unpack(packed(there)).files
    holder = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import fcntl, sys; f = open(sys.argv[1], 'a+'); fcntl.flock(f, fcntl.LOCK_EX);"
            "print('held', flush=True); sys.stdin.read()",
            str(here.lock_file),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FolderInUseError):
            place(files, here, "job x")
        assert contents(here.path) == {}
    finally:
        holder.communicate("")
    with locked(here):
        pass
