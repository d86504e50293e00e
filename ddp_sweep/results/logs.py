"""One readable log for each attempt at a trial: what its ranks printed, and how it ended.

Lines that begin with ``#`` are ours. Every other one tells when it was printed (UTC), by which
rank, whether to stderr (``err``), and what:

    # 2 workers x 64, seed 3, attempt 1 of trial 3f2a9c0d1e2f
    # begun 2026-01-31 14:03:06 UTC
    14:03:07.124 rank 1 | reading 1,437 images
    14:03:07.310 rank 0 err | UserWarning: lr_scheduler.step() was called first
    # ended 2026-01-31 14:03:31 UTC: succeeded, 24.6 s

The driver writes the first and the last lines, a process beside it those of the ranks. A log that
cannot be written is no reason to lose a trial.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

__all__ = [
    "LogFile",
    "LogLine",
    "TrialLogs",
    "append_text",
    "follow_lines",
    "log_text",
    "on_one_line",
    "read_line",
    "short_id",
]

_FIRST_WORDS = "# begun "
_LAST_WORDS = "# ended "
_STAMP = "%Y-%m-%d %H:%M:%S UTC"
_TAIL_BYTES = 64 * 1024
_SHORT_ID = 6
_SUBJECT = re.compile(r"# (.*), seed (-?\d+), attempt \d+ of trial ")
_STACK = re.compile(r"(Current thread|Thread) 0x[0-9a-f]+")
_CRASH = "Fatal Python error: "
_PRINTED = re.compile(r"(\d\d:\d\d:\d\d\.\d{3}) rank (\d+)( err)? \| (.*)", re.DOTALL)
_OVERWRITTEN = re.compile(r"[^\n]*\r(?=[^\r\n])")
"""What a carriage return has let the rest of the line be written over, as progress bars do."""


@dataclass(frozen=True, kw_only=True)
class LogFile:
    """The log of one attempt."""

    trial_id: str
    attempt: int
    path: Path
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line of a log."""

    text: str
    rank: int | None = None
    """None for a line of ours."""
    clock: str | None = None
    error: bool = False
    """Whether it was printed to stderr."""

    @property
    def ends_the_log(self) -> bool:
        """Whether nothing follows."""
        return self.rank is None and self.text.startswith(_LAST_WORDS)


def log_text(rank: int, text: bytes, *, time_s: float, error: bool = False) -> str:
    r"""Lines of a log for what a rank printed.

    Args:
        rank: Who.
        text: What; bytes that are no UTF-8 are shown as ``\xff``.
        time_s: When, in seconds since 1970.
        error: Whether to stderr.

    Examples:
        >>> print(log_text(1, b" 10%\r 20%\ndone\n", time_s=0.25), end="")
        00:00:00.250 rank 1 |  20%
        00:00:00.250 rank 1 | done
    """
    lines = text.decode("utf-8", errors="backslashreplace").replace("\0", "\\x00")
    if "\r" in lines:
        lines = _OVERWRITTEN.sub("", lines).replace("\r", "")
    clock = datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds")[11:23]
    prefix = f"{clock} rank {rank}{' err' if error else ''} | "
    return prefix + lines.removesuffix("\n").replace("\n", f"\n{prefix}") + "\n"


def read_line(line: str) -> LogLine:
    """A line of a log, without its end."""
    found = _PRINTED.fullmatch(line)
    if found is None:
        return LogLine(text=line)
    clock, rank, error, text = found.groups()
    return LogLine(text=text, rank=int(rank), clock=clock, error=error is not None)


def short_id(trial_id: str, among: Iterable[str]) -> str:
    """The beginning of an id that no other one has.

    >>> short_id("3f2a9c0d1e", ["3f2a9c0d1e", "3f2a9c0fff", "77"])
    '3f2a9c0d'
    """
    others = [one for one in among if one != trial_id]
    length = _SHORT_ID
    while length < len(trial_id) and any(one.startswith(trial_id[:length]) for one in others):
        length += 1
    return trial_id[:length]


@dataclass(frozen=True)
class TrialLogs:
    """The logs of a results folder.

    Attributes:
        folder: Where they lie; made when the first is written.
    """

    folder: Path

    def file(self, trial_id: str, attempt: int) -> Path:
        """The log of an attempt, whether there is one or not."""
        return self.folder / f"{trial_id}.{attempt}.log"

    def starting(self, workers: str) -> Path:
        """What a group of workers prints before it has a trial."""
        return self.folder / f"starting-{workers}"

    def begin(self, trial_id: str, attempt: int, name: str, now: datetime) -> None:
        """An attempt was handed out.

        Args:
            trial_id: Of the trial.
            attempt: Number of the attempt.
            name: Configuration and seed in words.
            now: The time of day.
        """
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
        words = f"{name}, attempt {attempt} of trial {trial_id}"
        stamp = now.astimezone(UTC).strftime(_STAMP)
        self.append(trial_id, attempt, f"# {on_one_line(words)}\n{_FIRST_WORDS}{stamp}\n")

    def end(self, trial_id: str, attempt: int, outcome: str, now: datetime) -> None:
        """An attempt has ended; ``outcome`` says how."""
        stamp = now.astimezone(UTC).strftime(_STAMP)
        self.append(trial_id, attempt, f"{_LAST_WORDS}{stamp}: {on_one_line(outcome)}\n")

    def append(self, trial_id: str, attempt: int, lines: str) -> None:
        """Add lines that are whole, in one piece: another process may add some as well."""
        append_text(self.file(trial_id, attempt), lines)

    def adopt_starting(self, trial_id: str, attempt: int, workers: str = "*") -> None:
        """Add what workers have printed before they had a trial, if anything."""
        for file in sorted(self.folder.glob(self.starting(workers).name)):
            with suppress(OSError):
                self.append(trial_id, attempt, file.read_text(encoding="utf-8", errors="replace"))
                file.unlink()

    def forget_starting(self) -> None:
        """Remove what workers of earlier runs printed that never had a trial."""
        for file in self.folder.glob(self.starting("*").name):
            with suppress(OSError):
                file.unlink()

    def files(self) -> tuple[LogFile, ...]:
        """All logs, those of a trial by attempt; empty where there is no folder."""
        found = []
        for path in self.folder.glob("*.log"):
            trial_id, _, attempt = path.stem.rpartition(".")
            if trial_id and attempt.isdecimal():
                size = path.stat().st_size
                one = LogFile(trial_id=trial_id, attempt=int(attempt), path=path, size_bytes=size)
                found.append(one)
        return tuple(sorted(found, key=lambda one: (one.trial_id, one.attempt)))

    def subject(self, file: LogFile) -> tuple[str, int | None]:
        """Configuration and seed that a log is of; empty and None where it does not say."""
        try:
            with file.path.open(encoding="utf-8", errors="replace") as opened:
                found = _SUBJECT.match(opened.readline(_TAIL_BYTES))
        except OSError:
            return "", None
        return (found[1], int(found[2])) if found else ("", None)

    def last_lines(
        self, trial_id: str, attempt: int, most: int, rank: int | None = None
    ) -> tuple[str, ...]:
        """What ranks printed last in an attempt, without times; empty where nothing is known.

        Args:
            trial_id: Of the trial.
            attempt: Number of the attempt.
            most: Lines at most.
            rank: Only lines of this one; all where it printed none.
        """
        printed = [one for one in _tail(self.file(trial_id, attempt)) if one.rank is not None]
        own = [one for one in printed if one.rank == rank] or printed
        return _telling([one.text for one in own if one.text.strip()], most)


def _telling(lines: list[str], most: int) -> tuple[str, ...]:
    """The last lines; of a crash those that say where, not the end of the stacks it left."""
    crashes = [place for place, text in enumerate(lines) if text.startswith(_CRASH)]
    if crashes:
        return tuple(lines[crashes[-1] :][:most])
    stacks = (place for place, text in enumerate(lines) if _STACK.match(text))
    return tuple(lines[: next(stacks, None)][-most:])


def follow_lines(path: Path, goes_on: Callable[[], bool]) -> Iterator[str]:
    """Lines of a log, then those that are added, until its last one.

    Args:
        path: Of the log.
        goes_on: Whether more may come; called where all was read, and may take its time.
    """
    rest, last_look = b"", False
    with path.open("rb") as file:
        while True:
            text = file.read(_TAIL_BYTES)
            *lines, rest = (rest + text).split(b"\n")
            for line in (one.decode("utf-8", errors="replace") for one in lines):
                yield line
                if read_line(line).ends_the_log and not file.peek(1):
                    return
            if text:
                continue
            if last_look:
                break
            # What came between the last reading and the end is read once more.
            last_look = not goes_on()
    if rest:
        yield rest.decode("utf-8", errors="replace")


def append_text(path: Path, text: str) -> None:
    """Add text to a file; where that fails, it is lost and nothing else."""
    with suppress(OSError), path.open("ab", buffering=0) as file:
        file.write(text.encode("utf-8", errors="backslashreplace"))


def _tail(path: Path) -> Iterator[LogLine]:
    """The lines at the end of a file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return
    lines = text.removesuffix("\n").split("\n")
    # The first may be the rest of a line.
    yield from map(read_line, lines[1:] if size > _TAIL_BYTES else lines)


def on_one_line(text: str) -> str:
    """The text with every line end and run of spaces as one space."""
    return " ".join(text.split())
