"""The charts in the order of the page, and the files that ``--plots`` writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddp_sweep.errors import ResultsError
from ddp_sweep.report.page.charts.confusion import confusion_info, draw_confusion
from ddp_sweep.report.page.charts.efficiency import draw_efficiency, efficiency_info
from ddp_sweep.report.page.charts.losses import draw_losses, losses_info
from ddp_sweep.report.page.charts.quality import draw_quality, quality_info
from ddp_sweep.report.page.charts.samples import draw_samples, samples_info
from ddp_sweep.report.page.charts.speedup import draw_speedup, speedup_info
from ddp_sweep.report.page.charts.step_time import draw_step_time, step_time_info
from ddp_sweep.report.page.charts.tradeoff import draw_tradeoff, tradeoff_info
from ddp_sweep.report.page.drawing import Drawing, to_png, to_svg
from ddp_sweep.report.page.emphasis import Emphasis
from ddp_sweep.report.page.figure import ChartInfo, Missing
from ddp_sweep.report.page.material import Material

__all__ = ["CHARTS", "Chart", "ChartKind", "compute_charts", "write_plots"]


@dataclass(frozen=True)
class ChartKind:
    """A chart before there are any data."""

    key: str
    """Name of its files and of its place on the page."""
    heading: str
    compute: Callable[[Material], Any]
    """To the chart's own info object, or `Missing`."""
    draw: Callable[[Any, Emphasis], Drawing]
    """From that info object."""


CHARTS = (
    ChartKind("speedup", "Speedup against world size", speedup_info, draw_speedup),
    ChartKind("efficiency", "Scaling efficiency", efficiency_info, draw_efficiency),
    ChartKind("quality", "Quality against global batch", quality_info, draw_quality),
    ChartKind("samples", "Samples to the target", samples_info, draw_samples),
    ChartKind("tradeoff", "Time and cost", tradeoff_info, draw_tradeoff),
    ChartKind("losses", "Loss curves", losses_info, draw_losses),
    ChartKind("step_time", "Where a step's time goes", step_time_info, draw_step_time),
    ChartKind("confusion", "Confusion matrices", confusion_info, draw_confusion),
)


@dataclass(frozen=True)
class Chart:
    """A chart of this source."""

    kind: ChartKind
    info: ChartInfo | Missing

    def svg(self, emphasis: Emphasis, *, titled: bool = False) -> str:
        """The picture; only of a chart that is not missing."""
        assert not isinstance(self.info, Missing)
        drawn = self.kind.draw(self.info, emphasis)
        return to_svg(drawn, self.info.title if titled else None)


def compute_charts(material: Material) -> tuple[Chart, ...]:
    """The info object of every chart, or why there is none."""
    return tuple(Chart(kind, kind.compute(material)) for kind in CHARTS)


def write_plots(charts: tuple[Chart, ...], emphasis: Emphasis, folder: Path) -> tuple[Path, ...]:
    """Write each chart as SVG and PNG, titled, on white.

    Raises:
        ResultsError: The folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for chart in charts:
            if isinstance(chart.info, Missing):
                continue
            svg = chart.svg(emphasis, titled=True)
            file = folder / f"{chart.kind.key}.svg"
            file.write_text(svg, encoding="utf-8")
            file.with_suffix(".png").write_bytes(to_png(svg))
            written += [file, file.with_suffix(".png")]
    except OSError as error:
        raise ResultsError(f"the plots cannot be written to {folder}: {error}") from error
    return tuple(written)
