"""Draws the live view: a bar, the grid of cells, and a few lines, fitted to the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ddp_sweep.report.front_runner import Quality
from ddp_sweep.report.live_grid import Detail, GridCell, GridView, Mark
from ddp_sweep.report.live_view import LiveView

__all__ = ["GridDrawing", "LiveDrawing"]

_LABEL = 10
_WORKERS = len("workers")
_LINES_BESIDE_GRID = 11
"""Heading, bar, legend, what runs, who is ahead, and the air between them."""
_LINES_BESIDE_FAILURES = 16
"""The same with a small grid."""
_LOW = 32
"""Lines of a terminal on which a failure gets one line only."""

_SYMBOLS: dict[Mark | Quality, tuple[str, str, str]] = {
    # the symbol, the one for terminals without Unicode, and the colour
    Mark.DONE: ("■", "#", "green"),
    Mark.RUNNING: ("▶", ">", "bold cyan"),
    Mark.TO_COME: ("·", ".", "dim"),
    Mark.OUT_OF_MEMORY: ("M", "M", "bold red"),
    Mark.DIVERGED: ("D", "D", "bold red"),
    Mark.TIMED_OUT: ("T", "T", "bold red"),
    Mark.ERROR: ("E", "E", "bold red"),
    Mark.LOST_WORKER: ("L", "L", "bold red"),
    Mark.INFEASIBLE: ("-", "-", "dim"),
    Mark.INTERRUPTED: ("I", "I", "yellow"),
    Quality.BASELINE: ("=", "=", "cyan"),
    Quality.HELD: ("✓", "+", "green"),
    Quality.UNKNOWN: ("?", "?", "yellow"),
    Quality.LOST: ("✗", "x", "red"),
    Quality.FAILED: ("!", "!", "red"),
}
_EXPLAINED: dict[Mark | Quality, str] = {Quality.UNKNOWN: "quality not yet known"}


class GridDrawing:
    """A renderable: the grid with as much detail as fits.

    It changes only at the begin and end of trials, so what was drawn is kept for the beats in
    between. Trying what fits costs more than all the rest of the view.
    """

    def __init__(self, grid: GridView) -> None:
        self.grid = grid
        self._drawn: dict[tuple[int, int, bool], list[Segment]] = {}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Called by rich."""
        room = options.max_width, options.height or console.height, options.ascii_only
        if room not in self._drawn:
            table, detail = self._fitting(console, options)
            legend = _legend(self.grid, detail, options)
            group = Group(self._title(), table, legend)
            unlimited = options.update(height=None)
            self._drawn = {room: list(console.render(group, unlimited))}
        yield from self._drawn[room]

    def _title(self) -> Text:
        return Text(f"{'':{_WORKERS}}  {self.grid.batch_title}", style="dim")

    def _fitting(self, console: Console, options: ConsoleOptions) -> tuple[RenderableType, Detail]:
        """The first table that fits; where none does, as many columns and rows as fit."""
        grid, ascii_only = self.grid, options.ascii_only
        height = options.height or console.height
        unlimited = options.update(max_width=10_000)
        for detail in Detail:
            lines = 2 if detail is Detail.BELOW else 1
            table = _table(grid, detail, ascii_only, len(grid.batches), len(grid.workers))
            needed = Measurement.get(console, unlimited, table).maximum
            if needed <= options.max_width and len(grid.workers) * lines + 2 <= height:
                return table, detail
        rows = max(1, min(len(grid.workers), height - 3))
        columns = len(grid.batches)
        while columns > 1:
            table = _table(grid, Detail.COUNTS, ascii_only, columns, rows)
            if Measurement.get(console, unlimited, table).maximum <= options.max_width:
                break
            columns -= 1
        table = _table(grid, Detail.COUNTS, ascii_only, columns, rows)
        left_out = Text(_left_out(grid, columns, rows), style="dim")
        return Group(table, left_out), Detail.COUNTS


class LiveDrawing:
    """A renderable: as much of a view as fits the terminal.

    Args:
        view: What is shown.
        grid: The drawing of its grid, where there is one from before.
    """

    def __init__(self, view: LiveView, grid: GridDrawing | None = None) -> None:
        self.view = view
        self.grid = GridDrawing(view.grid) if grid is None and view.grid is not None else grid

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Called by rich."""
        yield Group(*self._parts(console, options))

    def _parts(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        view, width = self.view, options.max_width
        lines = 1 if console.height < _LOW else 2
        more = max(0, len(view.now) - 1)
        most = max(1, (console.height - _LINES_BESIDE_FAILURES - more) // lines)
        failures = view.failures[:most]
        yield from _heading(view, width)
        if view.planned:
            yield ProgressBar(total=view.planned, completed=view.done, width=width)
        air = [""] if console.height > _LINES_BESIDE_FAILURES else []
        if self.grid is not None:
            yield from air
            height = console.height - _LINES_BESIDE_GRID - more - lines * len(failures)
            yield _Bounded(self.grid, height)
        yield from air
        for number, now in enumerate(view.now):
            yield _line("" if number else "now", now, width, lines=1 if more else 3)
        if view.front:
            colour = _SYMBOLS[view.front_quality][2] if view.front_quality else ""
            yield _line("in front", view.front, width, colour)
        for number, failure in enumerate(failures):
            yield _line("" if number else "failed", failure, width, "red", lines=lines)
        # The cursor rests here; a ^C echoed at the end of a full line would break it, and what is
        # redrawn would begin a line too low.
        yield ""


@dataclass(frozen=True)
class _Bounded:
    """A renderable that is told how many lines it may have."""

    inner: RenderableType
    height: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Called by rich."""
        yield from console.render(self.inner, options.update(height=max(1, self.height)))


def _heading(view: LiveView, width: int) -> Iterator[Text]:
    heading, time = Text(view.heading, style="bold"), Text(view.time)
    if heading.cell_len + time.cell_len + 2 <= width:
        yield heading.append(" " * (width - heading.cell_len - time.cell_len)).append(time)
    else:
        yield heading
        yield time


def _left_out(grid: GridView, columns: int, rows: int) -> str:
    parts = []
    if columns < len(grid.batches):
        parts.append(f"{len(grid.batches) - columns} more batch sizes")
    if rows < len(grid.workers):
        parts.append(f"{len(grid.workers) - rows} more numbers of workers")
    return f"... and {' and '.join(parts)}" if parts else ""


def _table(grid: GridView, detail: Detail, ascii_only: bool, columns: int, rows: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(Text("workers", style="dim"), justify="right", no_wrap=True)
    for batch in grid.batches[:columns]:
        table.add_column(Text(batch, style="dim"), no_wrap=True)
    for workers, cells in zip(grid.workers[:rows], grid.rows[:rows], strict=True):
        shown = (_cell(cell, detail, ascii_only) for cell in cells[:columns])
        table.add_row(workers, *shown)
    return table


def _cell(cell: GridCell | None, detail: Detail, ascii_only: bool) -> Text:
    if cell is None:
        return Text("")
    if detail is Detail.COUNTS:
        return Text(cell.count.partition(",")[0] + ("!" if "," in cell.count else ""))
    if cell.marks is None:
        text = Text(cell.count)
    else:
        text = Text.assemble(*(_symbol(mark, ascii_only) for mark in cell.marks))
    if detail is Detail.TRIALS:
        return text
    outcome = [Text(cell.speedup)] if cell.speedup else []
    if cell.quality is not None:
        outcome.append(Text.assemble(_symbol(cell.quality, ascii_only)))
    text.append(" " if detail is Detail.BESIDE else "\n")
    return text.append_text(Text(" ").join(outcome))


def _symbol(of: Mark | Quality, ascii_only: bool) -> tuple[str, str]:
    symbol, plain, colour = _SYMBOLS[of]
    return (plain if ascii_only else symbol), colour


def _legend(grid: GridView, detail: Detail, options: ConsoleOptions) -> Text:
    """What the symbols mean; none of them apart from its meaning at the end of a line."""
    if detail is Detail.COUNTS:
        return Text("ended / all trials; ! means that some failed", style="dim")
    with_speed = detail in (Detail.BESIDE, Detail.BELOW)
    shown: list[Mark | Quality] = [*grid.marks, *(grid.qualities if with_speed else ())]
    width = options.max_width
    text, room = Text(), width
    for of in shown:
        symbol, colour = _symbol(of, options.ascii_only)
        entry = Text.assemble((symbol, colour), (f" {_EXPLAINED.get(of, of.value)}", "dim"))
        if text and entry.cell_len + 3 > room:
            text.append("\n")
            room = width
        elif text:
            text.append("   ")
            room -= 3
        text.append_text(entry)
        room -= entry.cell_len
    return text


def _line(label: str, words: str, width: int, colour: str = "", *, lines: int = 3) -> Padding:
    """A label and what it says, in at most so many lines."""
    room = max(20, width - _LABEL)
    text = Text(words, style=colour)
    # Wrapping loses a little room at the end of each line.
    text.truncate(lines * room - (lines - 1) * 6, overflow="ellipsis")
    table = Table.grid(padding=0)
    table.add_column(width=_LABEL, no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(Text(label, style="dim"), text)
    return Padding(table, 0)
