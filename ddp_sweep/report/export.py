"""A ranking as text for other programs: JSON, CSV and Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TextIO

from ddp_sweep.analysis.outcome import Ranking
from ddp_sweep.analysis.serialization import json_pieces
from ddp_sweep.report.view import RankingView, RowView, view_ranking
from ddp_sweep.shown_text import shown

__all__ = ["TextFormat", "render", "write"]

TextFormat = Literal["json", "csv", "markdown"]


def render(ranking: Ranking, form: TextFormat) -> str:
    """A ranking as text without a final line break; see `write`."""
    return "".join(_PIECES[form](ranking))


def write(ranking: Ranking, form: TextFormat, file: TextIO) -> None:
    """Write a ranking as text.

    Args:
        ranking: What is written.
        form: ``json`` is the contract of ``ddp-sweep rank --format json``; ``csv`` has one line a
            configuration, unknown figures empty; ``markdown`` is for a pull request or a wiki.
        file: Where to.
    """
    for piece in _PIECES[form](ranking):
        file.write(piece)
    file.write("\n")


def _csv(ranking: Ranking) -> Iterator[str]:
    yield ranking.to_frame().to_csv(index=False).removesuffix("\n")


def _markdown(ranking: Ranking) -> Iterator[str]:
    view = view_ranking(ranking)
    lines = [f"**{view.heading}**", "", *_table(view)]
    if view.left_out:
        lines += ["", f"... and {view.left_out:,} more of lower rank"]
    lines += ["", f"**{view.advice}**", "", *(f"- {sentence}" for sentence in view.caveats)]
    yield shown("\n".join(lines))


def _table(view: RankingView) -> list[str]:
    titles = [
        " ".join(view.sizes_title),
        "speedup [90 % interval]",
        "scaling efficiency",
        *(f"{metric.name} ({metric.margin})" for metric in view.metric_columns),
        "outcome",
    ]
    rule = ["---"] * len(titles)
    return [_line(cells) for cells in (titles, rule, *(_cells(row) for row in view.rows))]


def _cells(row: RowView) -> list[str]:
    sizes = " ".join(row.sizes.split())
    if row.distinction:
        sizes += f", {row.distinction}"
    cells = [sizes, row.speedup, row.efficiency, *row.metrics, row.outcome]
    return [f"**{cell}**" for cell in cells] if row.recommended else cells


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


_PIECES: dict[TextFormat, Callable[[Ranking], Iterator[str]]] = {
    "json": json_pieces,
    "csv": _csv,
    "markdown": _markdown,
}
