"""What a rank's process prints: read where it is written, and sent on while a trial runs.

Ray leads stdout and stderr of a worker to two files, so everything lands there that any part of
the process prints: Python, C libraries, loader workers, the stack that a crash leaves. These files
are read, and nothing is put between the process and them: what was written right before a death is
there after it, for whoever reads on (:mod:`ddp_sweep.cluster.gang.last_words`). Where Ray was told
to lead them elsewhere, they are led to a file for as long as it takes.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["OutputCapture", "OutputFile", "Printed", "Stream", "unread"]

Stream = Literal["out", "err"]

_DESCRIPTORS: dict[Stream, int] = {"out": 1, "err": 2}
_POLL_S = 0.2
_BATCH_BYTES = 64 * 1024
"""Of one message; Ray sends what is smaller than 100 kB along with the call."""
_HEAD_BYTES = 8 * 2**20
"""Of the log, for what a rank prints in a trial from its beginning."""
_TAIL_BYTES = 2**16
"""Kept of each stream from the end, where there was more than that."""
_PREFIX_BYTES = 26
"""Before each line in the log."""


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    """The file that a stream of a process leads to."""

    stream: Stream
    path: Path
    begin: int
    """Bytes that were in it before the process became ours."""
    ours: bool = False
    """Made by us, and to be deleted by whoever reads it last."""


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A piece of what a process printed; whole lines, unless one is very long or the last."""

    stream: Stream
    time_s: float
    """When the last of it was written, in seconds since 1970."""
    text: bytes
    end: int
    """Place in the file behind it."""
    left_out_bytes: int = 0
    """Skipped right before it."""

    @property
    def begin(self) -> int:
        """Place in the file where it begins, with what was left out."""
        return self.end - len(self.text) - self.left_out_bytes

    @property
    def log_bytes(self) -> int:
        """About what it takes in the log."""
        return len(self.text) + _PREFIX_BYTES * self.text.count(b"\n")


def unread(path: Path, stream: Stream, position: int, *, head_bytes: int = 0) -> Iterator[Printed]:
    """All that a file holds from a place on: the first ``head_bytes``, and the end.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        yield from _Reader(stream, file.fileno(), position).rest(head_bytes)


class OutputCapture:
    """Sends on what this process prints, a few times a second; use it in a ``with`` statement.

    What is printed while nothing is listened to is sent when the next listening begins.

    Args:
        send: Called for each piece, from one thread at a time; its errors are dropped.
        poll_s: Time between two looks.
        folder: For files of ours, where it takes any; None: the system's folder for such.
    """

    def __init__(
        self,
        send: Callable[[Printed], None],
        *,
        poll_s: float = _POLL_S,
        folder: Path | None = None,
    ) -> None:
        self._send = send
        self._poll_s = poll_s
        self._streams = [_Stream(one, folder) for one in _DESCRIPTORS]
        self._lock = threading.Lock()
        self._listening = threading.Event()
        self._ended = threading.Event()
        self._head_bytes = 0
        self._thread = threading.Thread(target=self._follow, name="output", daemon=True)
        self._flush_c = getattr(ctypes.CDLL(None), "fflush", None)

    @property
    def files(self) -> tuple[OutputFile, ...]:
        """Where everything can be read, also after the death of this process."""
        return tuple(one.file for one in self._streams)

    def __enter__(self) -> OutputCapture:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Send the rest, stop the thread and leave the descriptors as they were."""
        self._ended.set()
        self._listening.set()
        self._thread.join()
        self._look(to_the_end=True)
        for one in self._streams:
            one.close()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Send what is printed meanwhile; at the end all of it has been sent."""
        self._head_bytes = _HEAD_BYTES
        self._listening.set()
        try:
            yield
        finally:
            self._listening.clear()
            self._flush()
            self._look(to_the_end=True)

    def _follow(self) -> None:
        while not self._ended.is_set():
            self._listening.wait()
            self._ended.wait(self._poll_s)
            if self._listening.is_set():
                self._look()

    def _look(self, *, to_the_end: bool = False) -> None:
        with self._lock:
            # What is newer comes later.
            for one in sorted(self._streams, key=lambda each: each.reader.modified_s):
                pieces = one.reader.rest if to_the_end else one.reader.whole_lines
                for piece in pieces(self._head_bytes):
                    self._head_bytes -= piece.log_bytes
                    # Training goes on, whether it is heard of or not.
                    with suppress(Exception):
                        self._send(piece)
                one.pass_on()

    def _flush(self) -> None:
        for file in (sys.stdout, sys.stderr):
            # Those of a workload may be closed, or no file at all.
            with suppress(Exception):
                file.flush()
        if self._flush_c is not None:
            self._flush_c(None)


class _Reader:
    """Reads a file from a place on, in pieces."""

    def __init__(self, stream: Stream, descriptor: int, position: int) -> None:
        self.position = position
        self._stream: Stream = stream
        self._descriptor = descriptor

    @property
    def modified_s(self) -> float:
        return os.fstat(self._descriptor).st_mtime

    @property
    def _size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def whole_lines(self, most_bytes: int) -> Iterator[Printed]:
        """What is there; the last line only once it has ended."""
        if self.position > self._size:
            self.position = 0  # a child that writes to /dev/stderr by name empties the file
        while most_bytes > 0 and self.position < self._size:
            text = os.pread(self._descriptor, _BATCH_BYTES, self.position)
            whole = text[: text.rfind(b"\n") + 1]
            if not whole and len(text) < _BATCH_BYTES:
                return
            piece = self._piece(whole or text)
            most_bytes -= piece.log_bytes
            yield piece

    def rest(self, most_bytes: int) -> Iterator[Printed]:
        """Everything, or so much of it and the end."""
        yield from self.whole_lines(most_bytes)
        left_out = max(0, self._size - _TAIL_BYTES - self.position)
        self.position += left_out
        while text := os.pread(self._descriptor, _BATCH_BYTES, self.position):
            whole = text[: text.rfind(b"\n") + 1]
            yield self._piece(whole if len(text) == _BATCH_BYTES and whole else text, left_out)
            left_out = 0

    def _piece(self, text: bytes, left_out: int = 0) -> Printed:
        self.position += len(text)
        return Printed(
            stream=self._stream,
            time_s=self.modified_s,
            text=text,
            end=self.position,
            left_out_bytes=left_out,
        )


class _Stream:
    """One descriptor, the file behind it, and how far that was read."""

    def __init__(self, stream: Stream, folder: Path | None) -> None:
        self._descriptor = _DESCRIPTORS[stream]
        self._before: int | None = None
        path = _regular_file(self._descriptor)
        begin = os.fstat(self._descriptor).st_size if path else 0
        ours = path is None
        if path is None:
            path = self._lead_to_a_file(folder)
        self.file = OutputFile(stream=stream, path=path, begin=begin, ours=ours)
        self._read_descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.reader = _Reader(stream, self._read_descriptor, begin)
        self._passed_on = 0

    def pass_on(self) -> None:
        """To where the descriptor led before, if it was led away."""
        if self._before is None:
            return
        if self._passed_on > os.fstat(self._read_descriptor).st_size:
            self._passed_on = 0
        while text := os.pread(self._read_descriptor, _BATCH_BYTES, self._passed_on):
            self._passed_on += len(text)
            with suppress(OSError), open(self._before, "wb", closefd=False, buffering=0) as file:
                file.write(text)

    def close(self) -> None:
        if self._before is not None:
            _flush_python(self._descriptor)
            os.dup2(self._before, self._descriptor)
            self.pass_on()
            os.close(self._before)
            self.file.path.unlink(missing_ok=True)
        os.close(self._read_descriptor)

    def _lead_to_a_file(self, folder: Path | None) -> Path:
        descriptor, name = tempfile.mkstemp(prefix="ddp-sweep-output-", dir=folder)
        os.close(descriptor)
        # Also whoever opens it anew by the name /dev/stderr must not write over the rest.
        descriptor = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        _flush_python(self._descriptor)
        self._before = os.dup(self._descriptor)
        os.dup2(descriptor, self._descriptor)
        os.close(descriptor)
        return Path(name)


def _regular_file(descriptor: int) -> Path | None:
    """The file that a descriptor leads to; None where it leads to none that can be read."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    try:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        readable = path.samefile(f"/proc/self/fd/{descriptor}") and os.access(path, os.R_OK)
    except OSError:  # it was deleted, or this is no Linux
        return None
    return path if readable else None


def _flush_python(descriptor: int) -> None:
    file = sys.stdout if descriptor == _DESCRIPTORS["out"] else sys.stderr
    with suppress(Exception):
        file.flush()
