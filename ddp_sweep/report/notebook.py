"""A ranking as notebooks and ``print`` show it: a table, the advice, and what it rests on."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from ddp_sweep.analysis.outcome import Ranking, show_rankings_with
from ddp_sweep.report.terminal import ranking_text
from ddp_sweep.report.view import RankingView, RowView, Tone, view_ranking

__all__ = ["draw_rankings", "ranking_html"]

# Colours that are legible on white and on black; everything else is the notebook's own.
_COLOURS = {Tone.HELD: "#2a9d5c", Tone.UNKNOWN: "#b8860b", Tone.LOST: "#d1495b"}
_CELL = "text-align:left;padding:.25em .8em .25em 0;border-bottom:1px solid #8884"


def draw_rankings() -> None:
    """Let every ranking be shown as HTML in a notebook, and as a table by ``print``."""
    show_rankings_with(html=ranking_html, text=ranking_text)


def ranking_html(ranking: Ranking) -> str:
    """A fragment without scripts or outside files; every text of the user's is escaped."""
    view = view_ranking(ranking)
    left_out = f"<p>... and {view.left_out:,} more of lower rank</p>" if view.left_out else ""
    return (
        "<div>"
        f"<p><b>{escape(view.heading)}</b></p>"
        f"{_table(view)}{left_out}"
        f"<p><b>{escape(view.advice)}</b></p>"
        f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in view.caveats)}</ul>"
        "</div>"
    )


def _table(view: RankingView) -> str:
    titles = [
        " ".join(view.sizes_title),
        "speedup [90 % interval]",
        "scaling efficiency",
        *(f"{metric.name} ({metric.margin})" for metric in view.metric_columns),
        "outcome",
    ]
    head = "".join(f'<th style="{_CELL}">{escape(title)}</th>' for title in titles)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{_rows(view.rows)}</tbody></table>"


def _rows(rows: Iterable[RowView]) -> str:
    return "".join(f"<tr>{_cells(row)}</tr>" for row in rows)


def _cells(row: RowView) -> str:
    sizes = " ".join(row.sizes.split())
    if row.distinction:
        sizes += f", {row.distinction}"
    weight = ";font-weight:bold" if row.recommended else ""
    plain = [sizes, row.speedup, row.efficiency, *row.metrics]
    cells = [f'<td style="{_CELL}{weight}">{escape(text)}</td>' for text in plain]
    colour = f";color:{_COLOURS[row.tone]}" if row.tone in _COLOURS else ""
    outcome = f'<td style="{_CELL}{weight}{colour}">{escape(row.outcome)}</td>'
    return "".join([*cells, outcome])
