"""Where the output of the ranks becomes lines of a trial's log, on the driver's node."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ddp_sweep.cluster.gang.output import OutputFile, Printed, Stream
from ddp_sweep.results.logs import TrialLogs, append_text, log_text, on_one_line

__all__ = ["Source", "TrialLog", "Unread", "lines_of"]

_MOST_EARLY = 100
"""Pieces that wait for one before them; then it is not waited for any longer."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a rank's output comes from."""

    rank: int
    pid: int
    node_id: str
    node: str
    """In words."""
    files: tuple[OutputFile, ...]


@dataclass(frozen=True, kw_only=True)
class Unread:
    """What has not been sent of a rank's output."""

    source: Source
    positions: tuple[int, ...]
    """How far each file was read."""
    log: Path
    """Where it belongs."""


class TrialLog:
    """Writes what comes in from ranks to the log of the trial that runs.

    Ray may hand over calls of one process in another order than they were made in: a piece that
    comes before the one it follows in its file waits for that.

    Args:
        logs: The logs of the sweep.
        workers: Name of the group of workers, which no other has.
    """

    def __init__(self, logs: TrialLogs, workers: str) -> None:
        self._logs = logs
        self._workers = workers
        self._file = logs.starting(workers)
        self._sources: dict[int, Source] = {}
        self._positions: dict[int, dict[Stream, int]] = {}
        self._early: dict[tuple[int, Stream], list[Printed]] = {}
        self._closed = False

    def join(self, source: Source) -> None:
        """A rank has begun to serve."""
        self._sources[source.rank] = source
        self._positions[source.rank] = {one.stream: one.begin for one in source.files}

    def begin(self, trial_id: str, attempt: int, world_size: int) -> None:
        """The ranks were given a trial; what they printed while they started belongs to it."""
        for rank, stream in self._early:
            self._write(rank, stream, most_early=0)
        self._file = self._logs.file(trial_id, attempt)
        ours = [one for rank, one in sorted(self._sources.items()) if rank < world_size]
        lines = [f"# rank {one.rank}: process {one.pid} on {one.node}\n" for one in ours]
        append_text(self._file, "".join(lines))
        self._logs.adopt_starting(trial_id, attempt, self._workers)

    def printed(self, rank: int, piece: Printed) -> None:
        """A rank has printed something."""
        if not self._closed:
            self._early.setdefault((rank, piece.stream), []).append(piece)
            self._write(rank, piece.stream)

    def _write(self, rank: int, stream: Stream, *, most_early: int = _MOST_EARLY) -> None:
        """Write the pieces of a stream in order, as far as none is missing."""
        pieces = sorted(self._early[rank, stream], key=lambda one: one.begin)
        while pieces and (
            pieces[0].begin <= self._positions[rank].get(stream, 0) or len(pieces) > most_early
        ):
            piece = pieces.pop(0)
            # A piece that others did not wait for comes from before where they ended.
            known = self._positions[rank].get(stream, 0)
            self._positions[rank][stream] = max(piece.end, known)
            append_text(self._file, lines_of(rank, piece))
        self._early[rank, stream] = pieces

    def note(self, text: str) -> None:
        """Add a line of ours."""
        append_text(self._file, f"# {on_one_line(text)}\n")

    def close(self) -> tuple[Unread, ...]:
        """Take no more; what is still to be read of the output of each rank.

        That begins before a piece that has not come, so what came early is read again there.
        """
        self._closed = True
        return tuple(
            Unread(
                source=source,
                positions=tuple(self._positions[rank][one.stream] for one in source.files),
                log=self._file,
            )
            for rank, source in sorted(self._sources.items())
        )


def lines_of(rank: int, piece: Printed) -> str:
    """A piece as lines of a log."""
    left_out = ""
    if piece.left_out_bytes:
        left_out = f"# rank {rank} printed {piece.left_out_bytes:,} more bytes, left out here\n"
    error = piece.stream == "err"
    return left_out + log_text(rank, piece.text, time_s=piece.time_s, error=error)
