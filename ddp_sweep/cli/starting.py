"""The verb that writes a first sweep file and workload: init."""

from __future__ import annotations

import csv
import io
import random
import re
import shlex
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from ddp_sweep.errors import OverwriteError

__all__ = ["init"]

_OWN_WORKLOAD = """\
workload: workload.py:MyWorkload  # path/to/file.py:attribute, relative to this file
workload_options: {}              # arguments of MyWorkload"""
_TABLE_WORKLOAD = """\
workload: ddp_sweep.workloads.table:Table
workload_options:
  path: customers.csv             # CSV or Parquet, relative to this file
  label: left                     # the column to predict
  positive: "yes"                 # the class whose recall and precision count
  drop: [customer, signed_up]     # columns the model must not see
  split: {by: time, column: signed_up}  # random | time | group: the choice that matters most
  # categorical: [postcode]       # numbers that are names
  # class_weight: balanced        # or how many times a positive row counts in training"""


class StarterTask(StrEnum):
    """What the starter files are for."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"
    LANGUAGE = "language"
    TABLE = "table"


@dataclass(frozen=True, kw_only=True)
class _Starter:
    """What differs between the sweep files."""

    title: str
    margins: tuple[str, ...]
    workload: str = _OWN_WORKLOAD
    batches: tuple[int, int] = (32, 64)
    epochs: int = 4
    optimizer: str = "sgd"
    rate: str = "0.05"


_CLASS_MARGINS = (
    "  margins:                        # what may be lost at most for the sake of speed",
    "    accuracy: 0.01                # one percentage point",
    "    recall: 0.02                  # of the positive class, or the mean over classes",
)
_STARTERS = {
    StarterTask.BINARY: _Starter(
        title="Two classes, your own model.",
        margins=(
            *_CLASS_MARGINS,
            "  floors:",
            '    "recall[1]": 0.7              # of class 1 this much must be found, at any speed',
        ),
    ),
    StarterTask.MULTICLASS: _Starter(
        title="Several classes, your own model.", margins=_CLASS_MARGINS
    ),
    StarterTask.REGRESSION: _Starter(
        title="A number to predict, your own model.",
        margins=(
            "  margins:                        # what may be lost at most for the sake of speed",
            "    rmse: 2%                      # a share, or a number in the unit of the labels",
        ),
        rate="0.02",
    ),
    StarterTask.LANGUAGE: _Starter(
        title="A language model of your own.",
        margins=(
            "  margins:                        # what may be lost at most for the sake of speed",
            "    perplexity: 2%                # a share, since perplexity has no upper end",
        ),
        batches=(16, 32),
        epochs=1,
        optimizer="adamw",
        rate="0.003",
    ),
    StarterTask.TABLE: _Starter(
        title="A table of your own, no code. What each split leaks: workloads/table/TABLE.md",
        margins=_CLASS_MARGINS,
        workload=_TABLE_WORKLOAD,
    ),
}


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write; made if it is not there.")
    ] = Path(),
    task: Annotated[
        StarterTask, typer.Option(help="What the model is to predict; table needs no code.")
    ] = StarterTask.MULTICLASS,
) -> None:
    """Write a commented sweep file and workload that run as they are, to change into your own."""
    contents = {"sweep.yaml": _sweep_file(folder, task)}
    if task is StarterTask.TABLE:
        contents["customers.csv"] = _customers()
    else:
        contents["workload.py"] = _template(f"{task}.py")
    present = [name for name in contents if (folder / name).exists()]
    if present:
        raise OverwriteError(
            f"{folder / present[0]} is there already and is not overwritten; name another folder: "
            "ddp-sweep init my-folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / name).write_text(text, encoding="utf-8")
    print(f"wrote {' and '.join(str(folder / name) for name in contents)}")
    print(f"next: {shlex.join(['ddp-sweep', 'try', str(folder / 'sweep.yaml')])}")


def _sweep_file(folder: Path, task: StarterTask) -> str:
    starter = _STARTERS[task]
    name, (small, large) = _name(folder), starter.batches
    return Template(_template("sweep.yaml")).substitute(
        title=starter.title,
        file=shlex.quote(str(folder / "sweep.yaml")),
        name_line=f"name: {name}".ljust(33) + f" # results go to results/{name}",
        workload=starter.workload,
        small=small,
        large=large,
        epochs=starter.epochs,
        optimizer=starter.optimizer.ljust(5),
        scaling="sqrt  " if starter.optimizer == "adamw" else "linear",
        rate=starter.rate,
        margins="\n".join(starter.margins),
    )


def _template(name: str) -> str:
    return (files("ddp_sweep") / "templates" / f"{name}.template").read_text(encoding="utf-8")


def _name(folder: Path) -> str:
    """The folder's name, as far as a results folder may be called so."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.absolute().name)[:100]
    return kept.lstrip("._-") or "my-sweep"


def _customers() -> str:
    """GENERATED customers who stay or leave, with every kind of column and some empty cells."""
    draw = random.Random(0)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["customer", "signed_up", "age", "plan", "spent", "complaints", "left"])
    for number in range(4000):
        age = min(90, max(18, round(draw.gauss(45, 15))))
        plan = draw.choice(["basic", "plus", "pro"])
        complaints = draw.choice([0, 0, 0, 1, 1, 2, 4])
        risk = complaints + (plan == "basic") + (age < 35) + draw.gauss(0, 0.7)
        day = f"2025-{1 + number // 334:02d}-{1 + number % 334 // 12:02d}"
        left = "yes" if risk > 2 else "no"
        spent = round(draw.expovariate(0.01), 2)
        age_or_empty = "" if draw.random() < 0.05 else age
        rows.writerow([f"c{number}", day, age_or_empty, plan, spent, complaints, left])
    return text.getvalue()
