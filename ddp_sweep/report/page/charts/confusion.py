"""Confusion matrices of the quality reference and of the winner, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import altair as alt
import numpy as np
import numpy.typing as npt

from ddp_sweep.analysis import RankedConfiguration
from ddp_sweep.analysis.wording import count
from ddp_sweep.report.page.drawing import Drawing, records
from ddp_sweep.report.page.emphasis import Emphasis
from ddp_sweep.report.page.figure import Missing, percent
from ddp_sweep.report.page.material import Material
from ddp_sweep.report.page.palette import BLUES

__all__ = ["ConfusionInfo", "ConfusionMatrix", "confusion_info", "draw_confusion"]

MOST_CLASSES = 20
"""Classes with a row of their own; of more those are shown whose recall changes most."""
_NUMBERED = 12
"""Classes up to which the cells hold numbers; beyond it only shades are legible."""
_NOTABLE = 0.0005
"""Change of a recall that shows in a tenth of a percent."""
_SIDE = 300
_LISTS = (list, tuple, np.ndarray)

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ConfusionMatrix:
    """One configuration, summed over its seeds; rows are the truth, columns the prediction."""

    name: str
    role: str
    runs: int
    counts: tuple[tuple[int, ...], ...]
    """Shape [classes, classes]; of the classes shown."""
    recall: tuple[float | None, ...]
    """Of each class shown; None for a class without samples."""
    totals: tuple[int, ...]
    """Validation samples of each class shown, over all runs; those predicted as a class that is
    not shown are among them."""


@dataclass(frozen=True, kw_only=True)
class ConfusionInfo:
    """The reference, and the winner where it is another configuration."""

    classes: tuple[str, ...]
    matrices: tuple[ConfusionMatrix, ...]
    title: str
    description: str
    notes: tuple[str, ...]


def confusion_info(material: Material) -> ConfusionInfo | Missing:
    """Sums over the finished runs, at the evaluation that quality is judged by."""
    found = []
    for entry, role in _compared(material):
        counts, runs = _sum(material, entry)
        if counts is not None:
            found.append((entry, role, counts, runs))
    if not found:
        return Missing(
            "No confusion matrix was recorded, so which classes are mistaken for which is not "
            "known."
        )
    sizes = {counts.shape for _, _, counts, _ in found}
    if len(sizes) > 1:
        return Missing("The confusion matrices to compare do not have the same classes.")
    size = found[0][2].shape[0]
    names = _class_names(material, size)
    shown = _most_changed([counts for _, _, counts, _ in found], size)
    matrices = tuple(
        _matrix(entry.name, role, counts, runs, shown) for entry, role, counts, runs in found
    )
    classes = tuple(names[index] for index in shown)
    return ConfusionInfo(
        classes=classes,
        matrices=matrices,
        title=_title(classes, matrices),
        description=_description(classes, matrices),
        notes=tuple(_notes(matrices, size, len(shown))),
    )


def _compared(material: Material) -> Iterator[tuple[RankedConfiguration, str]]:
    ranking = material.ranking
    yield ranking.reference, "quality reference"
    fastest = ranking.recommendation.fastest
    if fastest is None:
        others = [entry for entry in ranking.configurations if entry is not ranking.reference]
        if others:
            yield others[0], "first in rank"
    elif fastest is not ranking.reference:
        yield fastest, "recommended"


def _sum(material: Material, entry: RankedConfiguration) -> tuple[Counts | None, int]:
    measured = material.measured
    if "confusion_matrix" not in measured.quality:
        return None, 0
    rows = (measured.configuration == material.entries.index(entry)) & measured.finished
    cells = measured.quality["confusion_matrix"][rows]
    counts = [_counts(cell) for cell in cells if isinstance(cell, _LISTS)]
    if not counts or len({found.shape for found in counts}) > 1:
        return None, 0
    return np.sum(counts, axis=0), len(counts)


def _counts(cell: object) -> Counts:
    assert isinstance(cell, _LISTS)
    return np.array([np.asarray(row, dtype=np.int64) for row in cell])


def _class_names(material: Material, size: int) -> list[str]:
    if "class_names" in material.measured.quality:
        for cell in material.measured.quality["class_names"]:
            if isinstance(cell, _LISTS) and len(cell) == size:
                return [str(name) for name in cell]
    return [str(index) for index in range(size)]


def _recalls(counts: Counts) -> npt.NDArray[np.float64]:
    totals = counts.sum(axis=1)
    return np.diag(counts) / np.where(totals > 0, totals, np.nan)


def _most_changed(counts: list[Counts], size: int) -> list[int]:
    if size <= MOST_CLASSES:
        return list(range(size))
    change = np.nan_to_num(np.abs(_recalls(counts[-1]) - _recalls(counts[0])))
    if len(counts) == 1:
        change = np.nan_to_num(1 - _recalls(counts[0]))
    return sorted(np.argsort(-change, kind="stable")[:MOST_CLASSES].tolist())


def _matrix(name: str, role: str, counts: Counts, runs: int, shown: list[int]) -> ConfusionMatrix:
    recalls = _recalls(counts)
    return ConfusionMatrix(
        name=name,
        role=role,
        runs=runs,
        counts=tuple(tuple(int(counts[row, column]) for column in shown) for row in shown),
        recall=tuple(None if np.isnan(recalls[row]) else float(recalls[row]) for row in shown),
        totals=tuple(int(counts[row].sum()) for row in shown),
    )


def _title(classes: tuple[str, ...], matrices: tuple[ConfusionMatrix, ...]) -> str:
    if len(matrices) == 1:
        (only,) = matrices
        known = [(r, c) for r, c in zip(only.recall, classes, strict=True) if r is not None]
        worst, name = min(known)
        return f"{only.name} finds {percent(worst)} of class {name}, its weakest"
    reference, other = matrices
    changes = [
        (abs(b - a), name, a, b)
        for name, a, b in zip(classes, reference.recall, other.recall, strict=True)
        if a is not None and b is not None
    ]
    if not changes:
        return "No class has samples of which a recall could be computed"
    change, name, before, after = max(changes)
    if change < _NOTABLE:
        return f"No class is recognized better or worse with {other.name} than with the reference"
    return (
        f"The recall of class {name} changes most: {100 * before:.1f} % with the reference, "
        f"{100 * after:.1f} % with {other.name}"
    )


def _description(classes: tuple[str, ...], matrices: tuple[ConfusionMatrix, ...]) -> str:
    parts = []
    for matrix in matrices:
        words = ", ".join(
            f"{name} {percent(recall)}"
            for name, recall in zip(classes, matrix.recall, strict=True)
            if recall is not None
        )
        parts.append(f"Recall of each class with {matrix.name} ({matrix.role}): {words}.")
    return " ".join(parts)


def _notes(matrices: tuple[ConfusionMatrix, ...], size: int, shown: int) -> Iterator[str]:
    runs = ", ".join(f"{count(matrix.runs, 'run')} of {matrix.name}" for matrix in matrices)
    yield (
        f"Rows are the truth, columns the prediction; each cell is its share of the row, summed "
        f"over {runs}. The diagonal is the recall of each class."
    )
    if shown < size:
        yield f"Of {size} classes the {shown} are shown whose recall changes most."


def draw_confusion(info: ConfusionInfo, emphasis: Emphasis) -> Drawing:
    """Shades by share of the row, so that rare classes are as visible as frequent ones."""
    del emphasis  # shades stand for shares here, not for configurations
    return alt.hconcat(*(_panel(matrix, info.classes) for matrix in info.matrices), spacing=30)


def _panel(matrix: ConfusionMatrix, classes: tuple[str, ...]) -> Drawing:
    rows = []
    for place, (name, total) in enumerate(zip(classes, matrix.totals, strict=True)):
        for column, predicted in enumerate(classes):
            share = matrix.counts[place][column] / total if total else 0.0
            shade = BLUES[min(len(BLUES) - 1, int(share * len(BLUES)))]
            text = "" if not matrix.counts[place][column] else _short(share)
            rows.append(
                {"y": name, "x": predicted, "fill": shade.fill, "ink": shade.text, "text": text}
            )
    # Whole pixels for each cell, so that no seam shows between them.
    side = _SIDE // len(classes) * len(classes)
    angle = 0 if max(map(len, classes)) * len(classes) < _SIDE // 10 else -45
    base = alt.Chart(records(rows)).encode(
        alt.X(
            "x:N",
            sort=[*classes],
            axis=alt.Axis(
                title="predicted", labelLimit=80, labelAngle=angle, domain=False, ticks=False
            ),
        ),
        alt.Y(
            "y:N",
            sort=[*classes],
            axis=alt.Axis(title="truth", labelLimit=80, domain=False, ticks=False),
        ),
    )
    layers: list[alt.Chart] = [base.mark_rect().encode(color=alt.Color("fill:N", scale=None))]
    if len(classes) <= _NUMBERED:
        layers.append(
            base.mark_text(fontSize=10 if len(classes) > 5 else 12).encode(
                text="text:N", color=alt.Color("ink:N", scale=None)
            )
        )
    return alt.layer(*layers).properties(
        title=alt.TitleParams([matrix.name, matrix.role], fontSize=12, fontWeight="normal"),
        width=side,
        height=side,
    )


def _short(share: float) -> str:
    """A share in the room of a cell.

    Examples:
        >>> _short(0.972), _short(0.034), _short(0.0004)
        ('97', '3.4', '<0.1')
    """
    if share < 0.001:
        return "<0.1"
    return f"{100 * share:.0f}" if share >= 0.0995 else f"{100 * share:.1f}"
