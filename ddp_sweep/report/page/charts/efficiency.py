"""Scaling efficiency as a heat map, split into its two factors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import altair as alt

from ddp_sweep.analysis import RankedConfiguration
from ddp_sweep.report.page.drawing import WIDTH, Drawing, records
from ddp_sweep.report.page.emphasis import Emphasis, emphasize
from ddp_sweep.report.page.figure import Missing, percent
from ddp_sweep.report.page.material import Material
from ddp_sweep.report.page.palette import BLUES, INK, MUTED, NO_VALUE, ORANGES, Shade

__all__ = ["EfficiencyCell", "EfficiencyInfo", "draw_efficiency", "efficiency_info"]

_ROW_HEIGHT, _LOWEST_ROW_HEIGHT = 46, 18
_WIDEST_COLUMN = 110
_MANY_BATCHES = 14
_MOST_IN_WORDS = 12
_NOTABLE = 0.005
"""Extra samples that are worth a number."""
_MOST_BATCHES = 24
"""Rows of the map; of more batches some are shown."""
_ALL_EXTRA = 1.0
"""Extra samples from which on the shade does not get darker: twice as many."""


@dataclass(frozen=True, kw_only=True)
class EfficiencyCell:
    """One configuration; ``scaling == speed_kept / (1 + extra_samples)``. None is unknown."""

    name: str
    world_size: int
    batch: int
    """Global, or of a worker where the table has no other."""
    scaling: float | None
    """Speedup / (world size / the baseline's): 1 is ideal."""
    speed_kept: float | None
    """Samples a second and worker, relative to the baseline's."""
    extra_samples: float | None
    """Samples needed to the target beyond those of the baseline, as a share of them."""


@dataclass(frozen=True, kw_only=True)
class EfficiencyInfo:
    """A cell for each world size and batch that was tried."""

    cells: tuple[EfficiencyCell, ...]
    """In order of rank."""
    with_samples: bool
    """Whether the samples needed were measured."""
    batch_title: str
    title: str
    description: str
    notes: tuple[str, ...]


def efficiency_info(material: Material) -> EfficiencyInfo | Missing:
    """The best-ranked configuration of each world size and batch."""
    entries = [entry for entry in material.ranking.configurations if _batch(entry) is not None]
    if not any(entry.scaling_efficiency is not None for entry in entries):
        return Missing("No scaling efficiency could be computed, since no speedup was measured.")
    if len({entry.world_size for entry in entries}) == 1:
        return Missing(
            "Scaling efficiency compares numbers of workers, and only one was measured: "
            f"{entries[0].world_size}."
        )
    cells: dict[tuple[int, int], EfficiencyCell] = {}
    for entry in entries:
        cell = _cell(entry)
        cells.setdefault((cell.world_size, cell.batch), cell)
    shown = _rows(material, list(cells.values()))
    with_samples = any(cell.extra_samples is not None for cell in shown)
    return EfficiencyInfo(
        cells=tuple(shown),
        with_samples=with_samples,
        batch_title=(
            "global batch"
            if all(entry.global_batch_size for entry in entries)
            else "batch of a worker"
        ),
        title=_title(material, shown),
        description=_description(shown),
        notes=tuple(_notes(with_samples, len(entries) - len(cells), len(cells) - len(shown))),
    )


def _rows(material: Material, cells: Sequence[EfficiencyCell]) -> list[EfficiencyCell]:
    """The cells of as many batches as there is room for."""
    batches = sorted({cell.batch for cell in cells})
    emphasis = emphasize(material.ranking)
    first = sorted({cell.batch for cell in cells if cell.name in emphasis})
    others = [batch for batch in batches if batch not in first]
    room = max(0, _MOST_BATCHES - len(first))
    places = {len(others) * k // room for k in range(room)} if room else set()
    kept = {*first, *(batch for place, batch in enumerate(others) if place in places)}
    return [cell for cell in cells if len(batches) <= _MOST_BATCHES or cell.batch in kept]


def _batch(entry: RankedConfiguration) -> int | None:
    return entry.global_batch_size or entry.per_worker_batch_size


def _cell(entry: RankedConfiguration) -> EfficiencyCell:
    statistical = entry.statistical_efficiency
    return EfficiencyCell(
        name=entry.name,
        world_size=entry.world_size,
        batch=_batch(entry) or 0,
        scaling=entry.scaling_efficiency,
        speed_kept=entry.throughput_efficiency,
        extra_samples=None if not statistical else 1 / statistical - 1,
    )


def _title(material: Material, cells: Sequence[EfficiencyCell]) -> str:
    fastest = material.ranking.recommendation.fastest
    known = [cell for cell in cells if cell.scaling is not None]
    chosen = [cell for cell in known if fastest is not None and cell.name == fastest.name]
    smallest = min(cell.world_size for cell in cells)
    larger = [cell for cell in known if cell.world_size > smallest]
    if chosen and chosen[0].world_size > smallest:
        cell = chosen[0]
    elif larger:
        cell = max(larger, key=lambda found: found.scaling or 0)
    else:
        return f"No configuration of more than {smallest} workers has a speedup"
    text = f"{cell.name} reaches {percent(cell.scaling or 0)} of the ideal speedup"
    if cell.extra_samples is None or cell.speed_kept is None:
        return text
    return (
        f"{text}: each worker keeps {percent(cell.speed_kept)} of its speed, and "
        f"{_needed(cell.extra_samples)}"
    )


def _extra(share: float) -> str:
    return f"{'+' if share >= 0 else '−'}{percent(abs(share))}"  # noqa: RUF001 - a minus sign


def _needed(extra: float) -> str:
    if abs(extra) < _NOTABLE:
        return "as many samples are needed"
    return f"{percent(abs(extra))} {'more' if extra > 0 else 'fewer'} samples are needed"


def _description(cells: Sequence[EfficiencyCell]) -> str:
    words = []
    for cell in cells[:_MOST_IN_WORDS]:
        text = f"{cell.name}: "
        text += "not measured" if cell.scaling is None else f"{percent(cell.scaling)} of ideal"
        if cell.speed_kept is not None and cell.extra_samples is not None:
            text += (
                f" ({percent(cell.speed_kept)} of the speed of a worker kept, "
                f"{_needed(cell.extra_samples)})"
            )
        words.append(text)
    more = len(cells) - len(words)
    return "; ".join(words) + (f"; and {more:,} more." if more else ".")


def _notes(with_samples: bool, hidden: int, beyond: int) -> Iterator[str]:
    if with_samples:
        yield (
            "Scaling efficiency is the speed that each worker keeps, divided by the samples "
            "needed relative to the baseline. A dash stands for what was not measured."
        )
    else:
        yield (
            "Extra samples needed were not measured: without a target every run trains on the "
            "same number of samples. So the efficiency is the speed that each worker keeps. "
            "A dash stands for what was not measured."
        )
    if hidden:
        yield (
            "Where several configurations share a cell, it shows the best-ranked one; "
            f"{hidden:,} are not shown."
        )
    if beyond:
        yield (
            f"Only {_MOST_BATCHES} batches have a row: those of the configurations in colour and "
            f"some between them; {beyond:,} configurations are in the table alone."
        )


def draw_efficiency(info: EfficiencyInfo, emphasis: Emphasis) -> Drawing:
    """One panel for the product, one for each factor that was measured."""
    del emphasis  # shades stand for figures here, not for configurations
    if not info.with_samples:
        title = "Scaling efficiency = per-worker speed kept"
        return alt.hconcat(_panel(info, title, lambda cell: cell.scaling, _share))
    return alt.hconcat(
        _panel(info, "Scaling efficiency", lambda cell: cell.scaling, _share, 3),
        _panel(info, "= Per-worker speed kept", lambda cell: cell.speed_kept, _share, 3),
        _panel(info, "÷ (1 + extra samples needed)", lambda cell: cell.extra_samples, _more, 3),
        spacing=28,
    )


def _share(value: float) -> tuple[str, Shade]:
    return percent(value), _shade(value, BLUES)


def _more(value: float) -> tuple[str, Shade]:
    return _extra(value), _shade(value / _ALL_EXTRA, ORANGES)


def _shade(share: float, shades: tuple[Shade, ...]) -> Shade:
    return shades[min(len(shades) - 1, max(0, int(share * len(shades))))]


def _panel(
    info: EfficiencyInfo,
    title: str,
    figure: Callable[[EfficiencyCell], float | None],
    draw: Callable[[float], tuple[str, Shade]],
    of: int = 1,
) -> Drawing:
    sizes = sorted({cell.world_size for cell in info.cells})
    batches = sorted({cell.batch for cell in info.cells})
    rows = []
    for cell in info.cells:
        value = figure(cell)
        text, shade = ("–", Shade(NO_VALUE, INK)) if value is None else draw(value)  # noqa: RUF001
        rows.append(
            {
                "workers": f"{cell.world_size:,}",
                "batch": f"{cell.batch:,}",
                "fill": shade.fill,
                "ink": shade.text,
                "text": text,
            }
        )
    x = alt.X(
        "workers:N",
        sort=[f"{size:,}" for size in sizes],
        axis=alt.Axis(title="workers", labelAngle=0, domain=False, ticks=False),
    )
    y = alt.Y(
        "batch:N",
        sort=[f"{batch:,}" for batch in reversed(batches)],
        axis=alt.Axis(title=info.batch_title, domain=False, ticks=False),
    )
    base = alt.Chart(records(rows)).encode(x, y)
    height = _LOWEST_ROW_HEIGHT if len(batches) > _MANY_BATCHES else _ROW_HEIGHT
    return alt.layer(
        base.mark_rect(stroke=None).encode(color=alt.Color("fill:N", scale=None)),
        base.mark_text(fontSize=11 if of > 1 else 12).encode(
            text="text:N", color=alt.Color("ink:N", scale=None)
        ),
    ).properties(
        title=alt.TitleParams(title, fontSize=12, color=MUTED, fontWeight="normal"),
        width=min(_WIDEST_COLUMN * len(sizes), (WIDTH - 80 * (of - 1)) // of),
        height=height * len(batches),
    )
