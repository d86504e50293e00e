"""From a source to the page: gather, compute, draw, write."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddp_sweep.errors import ResultsError
from ddp_sweep.report.page.answer import Answer, Remark, answer, remarks
from ddp_sweep.report.page.drawing import for_page
from ddp_sweep.report.page.emphasis import emphasize
from ddp_sweep.report.page.environment import Environment, environment
from ddp_sweep.report.page.figure import Missing
from ddp_sweep.report.page.gallery import compute_charts, write_plots
from ddp_sweep.report.page.html import render_page
from ddp_sweep.report.page.material import gather
from ddp_sweep.report.page.tables import DataTable, configuration_table, trial_table
from ddp_sweep.report.view import view_ranking

if TYPE_CHECKING:
    import pandas as pd

    from ddp_sweep.report.page.emphasis import Emphasis
    from ddp_sweep.report.page.gallery import Chart
    from ddp_sweep.report.page.material import Material
    from ddp_sweep.results import Results

__all__ = ["FigureView", "PageView", "Report", "build_report"]


@dataclass(frozen=True, kw_only=True)
class FigureView:
    """A drawn chart with its words."""

    key: str
    heading: str
    title: str
    description: str
    notes: tuple[str, ...]
    svg: str


@dataclass(frozen=True, kw_only=True)
class PageView:
    """Everything that the page says; the template only sets it."""

    name: str
    version: str
    answer: Answer
    remarks: tuple[Remark, ...]
    configurations: DataTable
    colours: str | None
    """Which configurations are in colour, where not all of them are."""
    figures: tuple[FigureView, ...]
    left_out: tuple[tuple[str, str], ...]
    """Heading of a chart that the measurements do not allow, and the reason."""
    trials: DataTable
    environment: Environment


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report before it is written."""

    material: Material
    emphasis: Emphasis
    charts: tuple[Chart, ...]

    def page(self) -> PageView:
        """The info object of the whole page, its charts drawn."""
        view = view_ranking(self.material.ranking)
        return PageView(
            name=self.material.name,
            version=version("ddp-sweep"),
            answer=answer(self.material, view),
            remarks=remarks(self.material.ranking, view),
            configurations=configuration_table(self.material, view),
            colours=self.emphasis.note,
            figures=tuple(self._figures()),
            left_out=tuple(
                (chart.kind.heading, chart.info.reason)
                for chart in self.charts
                if isinstance(chart.info, Missing)
            ),
            trials=trial_table(self.material),
            environment=environment(self.material, view),
        )

    def _figures(self) -> list[FigureView]:
        return [
            FigureView(
                key=chart.kind.key.replace("_", "-"),
                heading=chart.kind.heading,
                title=chart.info.title,
                description=chart.info.description,
                notes=chart.info.notes,
                svg=for_page(chart.svg(self.emphasis), chart.kind.key.replace("_", "-")),
            )
            for chart in self.charts
            if not isinstance(chart.info, Missing)
        ]

    def html(self) -> str:
        """One page that needs nothing else."""
        return render_page(self.page())

    def write(self, file: Path) -> None:
        """Write the page.

        Raises:
            ResultsError: The file cannot be written.
        """
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.html(), encoding="utf-8")
        except OSError as error:
            raise ResultsError(
                f"the report cannot be written to {file}: {error}; give another --output"
            ) from error

    def write_plots(self, folder: Path) -> tuple[Path, ...]:
        """Write each chart as SVG and PNG.

        Raises:
            ResultsError: The folder cannot be written.
        """
        return write_plots(self.charts, self.emphasis, folder)


def build_report(source: Path | str | Results | pd.DataFrame, **options: Any) -> Report:  # noqa: ANN401 - those of `rank`
    """Rank a source and compute every chart that its measurements allow.

    Args:
        source: A results folder, loaded results, or a table; see `ddp_sweep.rank`.
        options: Those of `ddp_sweep.rank`.

    Raises:
        ResultsError: The folder does not exist or holds no trials yet.
        TableError: The table lacks a column, or holds something that cannot be.
    """
    material = gather(source, **options)
    return Report(
        material=material,
        emphasis=emphasize(material.ranking),
        charts=compute_charts(material),
    )
