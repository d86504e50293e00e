"""The ranking on a terminal: a table, one sentence of advice, and what to know beside it."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ddp_sweep.analysis.outcome import Ranking
from ddp_sweep.report.console import SafeConsole
from ddp_sweep.report.view import RankingView, RowView, Tone, view_ranking

__all__ = ["print_ranking", "ranking_text"]

_STYLES = {Tone.PLAIN: "", Tone.HELD: "green", Tone.UNKNOWN: "yellow", Tone.LOST: "red"}


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """What a table leaves out so as to fit."""

    intervals: bool = True
    efficiency: bool = True
    narrow: bool = False
    """Break headings and outcomes."""
    stacked: bool = False
    """All metrics in one column, a line each, in the order of its heading."""


_LAYOUTS = (
    _Layout(),
    _Layout(narrow=True),
    _Layout(narrow=True, intervals=False),
    _Layout(narrow=True, intervals=False, efficiency=False),
    _Layout(narrow=True, intervals=False, efficiency=False, stacked=True),
)
"""From the widest to the narrowest."""
_NARROW_OUTCOME = 16


def print_ranking(ranking: Ranking, console: Console) -> None:
    """Print a ranking as people read it, fitted to the console's width."""
    view = view_ranking(ranking)
    console.print()
    console.print(Text(view.heading, style="bold"))
    for level in view.levels:
        console.print(Text(level))
    console.print()
    table = _fitting_table(view, console)
    if table is not None:
        console.print(table)
    else:
        for line in _paragraphs(view):
            console.print(line)
    if view.left_out:
        console.print(Text(f"... and {view.left_out:,} more of lower rank", style="dim"))
    console.print()
    console.print(Text(view.advice, style="bold green" if view.decided else "bold yellow"))
    if view.caveats:
        console.print()
        for sentence in view.caveats:
            console.print(Text(_bullet(sentence, console.width)))
    if view.commands:
        console.print()
        for line in _command_lines(view):
            # A command that is broken over two lines can't be copied.
            console.print(line, soft_wrap=True)


def ranking_text(ranking: Ranking) -> str:
    """What `print_ranking` prints on a terminal of this width, without colours."""
    text = io.StringIO()
    console = SafeConsole(file=text, color_system=None, force_jupyter=False)
    print_ranking(ranking, console)
    return "\n".join(line.rstrip() for line in text.getvalue().strip("\n").splitlines())


def _fitting_table(view: RankingView, console: Console) -> Table | None:
    """The first layout that fits; None where none does."""
    for layout in _LAYOUTS:
        table = _table(view, layout)
        needed = Measurement.get(console, console.options.update(max_width=10_000), table)
        if needed.maximum <= console.width:
            return table
    return None


def _paragraphs(view: RankingView) -> Iterator[Text]:
    """The rows as a list, for consoles that are too narrow for any table."""
    yield Text(" ".join(view.sizes_title), style="bold")
    for row in view.rows:
        sizes = " ".join(row.sizes.split())
        name = f"{sizes}, {row.distinction}" if row.distinction else sizes
        start = f"{'> ' if row.recommended else '  '}{name}: {row.speedup}"
        yield Text(start, style="bold" if row.recommended else "")
        yield Text(f"    {row.outcome}", style=_STYLES[row.tone])
        for metric, difference in zip(view.metric_columns, row.metrics, strict=True):
            if difference != "-":
                yield Text(f"    {metric.name} ({metric.margin}) {difference}", style="dim")


def _table(view: RankingView, layout: _Layout) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column(_heading(*(f"  {part}" for part in view.sizes_title)), no_wrap=True)
    table.add_column(_heading("speedup", "[90 % interval]"), no_wrap=True)
    if layout.efficiency:
        title = ("effi-", "ciency") if layout.narrow else ("scaling", "efficiency")
        table.add_column(_heading(*title), justify="right", no_wrap=True)
    headings = [_heading(metric.name, metric.margin) for metric in view.metric_columns]
    if layout.stacked:
        headings = [_stack(f"{m.name}, {m.margin}" for m in view.metric_columns)]
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    table.add_column("outcome", max_width=_NARROW_OUTCOME if layout.narrow else None)
    for row in view.rows:
        table.add_row(*_cells(row, layout), style="bold" if row.recommended else "")
    return table


def _cells(row: RowView, layout: _Layout) -> Iterator[Text]:
    sizes = Text(f"> {row.sizes}" if row.recommended else f"  {row.sizes}")
    for setting in row.distinction.split(", ") if row.distinction else ():
        sizes.append(f"\n    {setting}", style="dim")
    yield sizes
    yield Text(row.speedup.replace(" ", "\n", 1) if layout.stacked else row.speedup)
    if layout.efficiency:
        yield Text(row.efficiency)
    differences = row.metrics if layout.intervals else row.short_metrics
    yield from [_stack(differences)] if layout.stacked else map(Text, differences)
    yield Text(row.outcome, style=_STYLES[row.tone])


def _heading(first: str, second: str) -> Text:
    return Text.assemble((first, "bold"), (f"\n{second}", "dim"))


def _stack(lines: Iterable[str]) -> Text:
    return Text("\n".join(lines))


def _bullet(sentence: str, width: int) -> str:
    return textwrap.fill(sentence, width, initial_indent="- ", subsequent_indent="  ")


def _command_lines(view: RankingView) -> Iterator[Text]:
    for command, gives in view.commands:
        yield Text(f"# {gives}", style="dim")
        yield Text(command, style="cyan")
