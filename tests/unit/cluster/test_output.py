"""What a process prints is read where it lands; each test has a process of its own, no Ray."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from ddp_sweep.cluster.gang.output import Printed, Stream, unread

SCRIPT = """
import ctypes, os, pickle, subprocess, sys, threading, time
from pathlib import Path
from ddp_sweep.cluster.gang.output import OutputCapture

folder = Path(sys.argv[1])
pieces = []
led_to = lambda: [(one.st_dev, one.st_ino) for one in map(os.fstat, (1, 2))]
before = led_to()
capture = OutputCapture(pieces.append, poll_s=POLL_S, folder=folder)
(folder / "files").write_bytes(pickle.dumps(capture.files))
with capture as output:
BODY
print("after")
(folder / "pieces").write_bytes(pickle.dumps((pieces, led_to() == before)))
"""

ways = pytest.mark.parametrize("led_to", ["file", "pipe"])


@dataclass(frozen=True)
class Ended:
    """What a process of a test has left."""

    code: int
    pieces: list[Printed]
    same: bool
    """Whether its descriptors were at the end what they were at first."""
    stdout: bytes
    stderr: bytes

    def text(self, stream: Stream) -> bytes:
        return b"".join(one.text for one in self.pieces if one.stream == stream)


def run(folder: Path, body: str, *, led_to: str = "file", poll_s: float = 0.01) -> Ended:
    """Run a body within ``with output.listening()``."""
    inside = textwrap.indent("with output.listening():\n" + textwrap.indent(body, "    "), "    ")
    return run_script(folder, inside, led_to=led_to, poll_s=poll_s)


def run_script(folder: Path, body: str, *, led_to: str = "file", poll_s: float = 0.01) -> Ended:
    script = SCRIPT.replace("BODY", body).replace("POLL_S", str(poll_s))
    # Buffers of Python and C as in a worker, whatever the tests themselves are run with.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", script, str(folder)]
    if led_to == "pipe":
        done = subprocess.run(
            command, capture_output=True, env=variables, check=False, timeout=120
        )
        out, err = done.stdout, done.stderr
    else:
        files = folder / "stdout", folder / "stderr"
        with files[0].open("ab") as stdout, files[1].open("ab") as stderr:
            done = subprocess.run(
                command, stdout=stdout, stderr=stderr, env=variables, check=False, timeout=120
            )
        out, err = (file.read_bytes() for file in files)
    pieces, same = [], False
    if (folder / "pieces").exists():
        pieces, same = pickle.loads((folder / "pieces").read_bytes())
    return Ended(done.returncode, pieces, same, out, err)


@ways
def test_whatever_writes_is_heard_and_still_arrives_where_it_did(
    tmp_path: Path, led_to: str
) -> None:
    body = """
print("from python")
os.write(1, b"from a descriptor\\n")
ctypes.CDLL(None).printf(b"from a C library\\n")
subprocess.run(["echo", "from a child"])
subprocess.run(["sh", "-c", "echo from a child, stderr >&2"])
print("to stderr", file=sys.stderr)
"""
    ended = run(tmp_path, body, led_to=led_to)

    assert ended.code == 0, ended.stderr
    said = {b"from python", b"from a descriptor", b"from a C library", b"from a child"}
    assert set(ended.text("out").splitlines()) == said
    assert ended.text("err") == b"from a child, stderr\nto stderr\n"
    assert set(ended.stdout.splitlines()) == said | {b"after"}
    assert ended.stderr == ended.text("err")
    assert ended.same
    assert not list(tmp_path.glob("ddp-sweep-*"))


@ways
def test_silence_sends_nothing(tmp_path: Path, led_to: str) -> None:
    ended = run(tmp_path, "time.sleep(0.1)", led_to=led_to)
    assert (ended.code, ended.pieces, ended.stdout) == (0, [], b"after\n")


def test_lines_stay_whole_and_bytes_stay_as_they_are(tmp_path: Path) -> None:
    body = """
for part in (b"one ", b"line", b"\\nbroken \\xff \\xe2\\x82", b"\\xac", b"\\nno end"):
    os.write(1, part)
    time.sleep(0.05)
"""
    ended = run(tmp_path, body)
    assert ended.text("out") == b"one line\nbroken \xff \xe2\x82\xac\nno end"
    assert all(one.text.endswith(b"\n") for one in ended.pieces[:-1])


@ways
def test_a_child_that_opens_stderr_by_name_hides_nothing(tmp_path: Path, led_to: str) -> None:
    # With a regular file behind it, that empties the file.
    body = """
os.write(2, b"a first line that is long enough\\n")
time.sleep(0.1)
subprocess.run(["sh", "-c", "echo by name > /dev/stderr"])
time.sleep(0.1)
os.write(2, b"the end\\n")
"""
    ended = run(tmp_path, body, led_to=led_to)
    assert ended.text("err").splitlines() == [
        *(b"a first line that is long enough", b"by name", b"the end")
    ]
    assert b"\0" not in ended.stderr


def test_what_is_led_away_arrives_where_it_did_without_delay(tmp_path: Path) -> None:
    body = """
    import select
    ends, before = os.pipe(), os.dup(1)
    os.dup2(ends[1], 1)
    with OutputCapture(pieces.append, poll_s=0.01, folder=folder) as inner:
        with inner.listening():
            os.write(1, b"at once\\n")
            assert select.select([ends[0]], [], [], 60)[0]
            assert os.read(ends[0], 100) == b"at once\\n"
    os.dup2(before, 1)
"""
    ended = run_script(tmp_path, body)
    assert ended.code == 0, ended.stderr
    assert ended.text("out") == b"at once\n"


def test_lines_are_heard_while_the_process_goes_on(tmp_path: Path) -> None:
    body = """
print("early", flush=True)
deadline = time.monotonic() + 60
while not pieces and time.monotonic() < deadline:
    time.sleep(0.01)
print("heard of", len(pieces))
"""
    assert run(tmp_path, body).text("out") == b"early\nheard of 1\n"


@ways
def test_threads_and_children_lose_no_line(tmp_path: Path, led_to: str) -> None:
    body = """
def say(name):
    for number in range(400):
        os.write(1, f"{name} {number}\\n".encode())

threads = [threading.Thread(target=say, args=(name,)) for name in "abcdefgh"]
for one in threads:
    one.start()
for one in threads:
    one.join()
"""
    lines = run(tmp_path, body, led_to=led_to).text("out").decode().splitlines()
    assert sorted(lines) == sorted(
        f"{name} {number}" for name in "abcdefgh" for number in range(400)
    )


@pytest.mark.parametrize("line", ["b'x' * 150 + b'\\n'", "b'\\n'", "b'y' * 200_000"])
def test_what_is_kept_of_much_is_its_beginning_and_its_end(tmp_path: Path, line: str) -> None:
    body = f"""
line = {line}
text = b"first\\n" + line * (40_000_000 // len(line)) + b"\\nlast\\n"
while text:
    text = text[os.write(1, text[:1_000_000]):]
"""
    ended = run(tmp_path, body)

    text = ended.text("out")
    assert text.startswith(b"first\n")
    assert text.endswith(b"\nlast\n")
    in_all = len(ended.stdout) - len(b"after\n")
    left_out = sum(one.left_out_bytes for one in ended.pieces)
    assert left_out > 0
    assert len(text) + left_out == in_all
    # In the log each line is preceded by some 26 characters.
    assert len(text) + 26 * text.count(b"\n") < 12_000_000
    assert max(len(one.text) for one in ended.pieces) < 100_000


def test_what_is_printed_meanwhile_is_told_at_the_next_listening(tmp_path: Path) -> None:
    body = """
    with output.listening():
        print("first", flush=True)
    counted = len(pieces)
    print("between", flush=True)
    time.sleep(0.1)
    assert len(pieces) == counted == 1
    with output.listening():
        print("second")
"""
    ended = run_script(tmp_path, body)
    assert ended.code == 0, ended.stderr
    assert ended.text("out") == b"first\nbetween\nsecond\n"


def test_nobody_who_listens_is_no_reason_to_fail(tmp_path: Path) -> None:
    body = """
    def deaf(piece):
        raise ConnectionError(piece)

    output._send = deaf
    with output.listening():
        print("first", flush=True)
        time.sleep(0.1)
        sys.stdout = None
"""
    ended = run_script(tmp_path, body + "    sys.stdout = sys.__stdout__\n")
    assert (ended.code, ended.stdout) == (0, b"first\nafter\n")


@ways
@pytest.mark.parametrize(
    "death", ["os.kill(os.getpid(), 9)", "os._exit(3)", "ctypes.string_at(0)"]
)
def test_last_words_can_be_read_after_a_death(tmp_path: Path, led_to: str, death: str) -> None:
    # Nothing is sent within an hour, so that all of it has to be read afterwards.
    body = f"""
import faulthandler
faulthandler.enable(2)
print("last words", flush=True)
print("to stderr, without an end", end="", file=sys.stderr, flush=True)
{death}
"""
    ended = run(tmp_path, body, led_to=led_to, poll_s=3600)

    assert ended.code in (-signal.SIGKILL, -signal.SIGSEGV, 3)
    out, err = pickle.loads((tmp_path / "files").read_bytes())
    assert [one.text for one in unread(out.path, "out", out.begin)] == [b"last words\n"]
    [said] = [one.text for one in unread(err.path, "err", err.begin)]
    assert said.startswith(b"to stderr, without an end")
    assert (b"Segmentation fault" in said) == ("ctypes" in death)
    assert out.ours == err.ours == (led_to == "pipe")


def test_reading_on_begins_where_the_process_left_off(tmp_path: Path) -> None:
    file = tmp_path / "output"
    file.write_bytes(b"sent\nnot sent\nat the end")
    [piece] = unread(file, "out", len(b"sent\n"))
    assert (piece.text, piece.end, piece.left_out_bytes) == (b"not sent\nat the end", 24, 0)
    file.write_bytes(b"sent\n" + b"much\n" * 100_000)
    pieces = list(unread(file, "out", 5, head_bytes=1000))
    kept = sum(len(one.text) for one in pieces)
    assert kept + sum(one.left_out_bytes for one in pieces) == 500_000
    assert kept < 200_000
    assert pieces[-1].end == 500_005
