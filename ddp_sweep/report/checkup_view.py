"""What a look at a cluster found, as a page on the terminal and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ddp_sweep.checkup import ClusterFacts, ExchangeFacts, Gravity, NodeFacts, Problem

__all__ = ["CheckupView", "checkup_to_json", "print_checkup", "view_checkup"]

_GIBIBYTE = 2**30
_UNKNOWN = "?"
_COLUMNS = ("node", "interface", "CPUs", "GPUs", "clock", "/dev/shm", "load")


@dataclass(frozen=True, kw_only=True)
class CheckupView:
    """Everything that is printed."""

    heading: str
    nodes: tuple[tuple[str, ...], ...]
    """A row for each, with the cells of the columns."""
    rows: tuple[tuple[str, str], ...]
    """What is said of the cluster as a whole: a label and a text."""
    problems: tuple[tuple[Gravity, str, str], ...]
    """Gravity, what is wrong, and what to do."""
    conclusion: str
    healthy: bool
    """Whether there is no problem; there may be warnings."""


def view_checkup(facts: ClusterFacts, problems: Sequence[Problem]) -> CheckupView:
    """The info object behind the printed page."""
    return CheckupView(
        heading=_heading(facts),
        nodes=tuple(_cells(node) for node in facts.nodes),
        rows=tuple(_rows(facts)),
        problems=tuple(
            (one.gravity, f"{one.node}: {one.message}" if one.node else one.message, one.remedy)
            for one in problems
        ),
        conclusion=_conclusion(problems),
        healthy=not any(one.gravity is Gravity.PROBLEM for one in problems),
    )


def print_checkup(facts: ClusterFacts, problems: Sequence[Problem], console: Console) -> None:
    """Print the page; names of hosts and folders are never taken for markup."""
    view = view_checkup(facts, problems)
    console.print(Text(view.heading, style="bold"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for column in _COLUMNS:
        table.add_column(column, overflow="fold")
    for cells in view.nodes:
        table.add_row(*map(Text, cells))
    console.print(table)
    console.print()
    grid = Table.grid(padding=(0, 2, 0, 0))
    for label, text in view.rows:
        grid.add_row(Text(label, style="dim"), Text(text))
    console.print(grid)
    for gravity, message, remedy in view.problems:
        console.print()
        style = "bold red" if gravity is Gravity.PROBLEM else "yellow"
        console.print(Text.assemble((f"{gravity}: ", style), message))
        console.print(Text(f"What to do: {remedy}"))
    console.print()
    console.print(Text(view.conclusion, style="bold green" if view.healthy else "bold red"))


def checkup_to_json(facts: ClusterFacts, problems: Sequence[Problem]) -> dict[str, Any]:
    """The facts and what is wrong, as JSON types only."""
    view = view_checkup(facts, problems)
    return {
        "healthy": view.healthy,
        "problems": [asdict(problem) for problem in problems],
        **asdict(facts),
    }


def _heading(facts: ClusterFacts) -> str:
    where = "This machine" if facts.address is None else f"Cluster at {facts.address}"
    cpus = sum(node.cpus for node in facts.nodes)
    gpus = sum(node.gpus for node in facts.nodes)
    offers = f"{_counted(cpus, 'CPU')} and {_counted(gpus, 'GPU')}"
    return f"{where}: Ray offers {offers} on {_counted(len(facts.nodes), 'node')}"


def _cells(node: NodeFacts) -> tuple[str, ...]:
    name = f"{node.label}{', this one' if node.is_driver else ''}"
    if node.silent_because is not None:
        return (name, *["no answer"], *[_UNKNOWN] * (len(_COLUMNS) - 2))
    return (
        name,
        _interface(node),
        f"{node.cpus:g} of {node.cores} cores, {node.hardware_threads} threads",
        _models(node),
        _clock(node),
        _or_unknown(node.shared_memory_bytes, lambda size: f"{size / _GIBIBYTE:.3g} GiB"),
        _or_unknown(node.load, lambda load: f"{100 * load:.0f} %"),
    )


def _interface(node: NodeFacts) -> str:
    used = node.interface
    if used is None or used.gloo is None:
        return "not known"
    names = used.gloo
    if used.nccl is not None and used.nccl.removeprefix("=") != used.gloo:
        names = f"gloo {used.gloo}, NCCL {used.nccl}"
    own = " (set there)" if used.set_by_user else ""
    speed = used.speed_bit_per_s
    return f"{names}{own}{f', {speed / 1e9:g} Gbit/s' if speed else ''}"


def _models(node: NodeFacts) -> str:
    if node.gpu_models is None:
        return f"{node.gpus:g}, {_UNKNOWN}"
    counted = Counter(node.gpu_models)
    offered = f"{node.gpus:g}" if node.gpus != len(node.gpu_models) else ""
    models = ", ".join(f"{count} x {model}" for model, count in sorted(counted.items()))
    return " of ".join(part for part in (offered, models) if part) or "none"


def _clock(node: NodeFacts) -> str:
    if node.clock_offset_s is None or node.clock_uncertainty_s is None:
        return _UNKNOWN
    if node.is_driver:
        return "-"
    return f"{_signed(node.clock_offset_s)} ±{_seconds(node.clock_uncertainty_s)}"


def _rows(facts: ClusterFacts) -> Iterator[tuple[str, str]]:
    yield "versions", _versions(facts)
    for exchange in facts.exchanges:
        yield f"exchange, {exchange.backend}", _exchange(exchange)
    folder = facts.folder
    state = "can be written" if folder.unwritable_because is None else "cannot be written"
    room = "" if folder.free_bytes is None else f", {folder.free_bytes / _GIBIBYTE:,.3g} GiB free"
    yield "results", f"{folder.path}: {state}{room}"
    yield "Ray's dashboard", "answers" if facts.dashboard else "does not answer"
    yield "token", "asked for" if facts.token else "not asked for"


def _versions(facts: ClusterFacts) -> str:
    here = facts.here
    own = f"Python {here.python}, Ray {here.ray}, torch {here.torch}, ddp_sweep {here.ddp_sweep}"
    answered = [node for node in facts.nodes if node.versions is not None]
    if all(node.versions == here for node in answered):
        return f"{own}{' on every node' if len(facts.nodes) > 1 else ''}"
    return f"{own} here; others on {_counted(_differing(facts), 'node')}"


def _differing(facts: ClusterFacts) -> int:
    return sum(node.versions not in (None, facts.here) for node in facts.nodes)


def _exchange(exchange: ExchangeFacts) -> str:
    who = f"{_counted(exchange.workers, 'worker')} on {_counted(exchange.nodes, 'node')}"
    if exchange.failed_because is not None:
        return f"{who}: failed"
    said = f"{who}: {_seconds(exchange.latency_s or 0)} for one number"
    rate = exchange.bandwidth_bit_per_s
    return said if rate is None else f"{said}, {_rate(rate)} for many"


def _rate(bit_per_s: float) -> str:
    big = bit_per_s >= 1e9
    return f"{bit_per_s / 1e9:.3g} Gbit/s" if big else f"{bit_per_s / 1e6:.3g} Mbit/s"


def _conclusion(problems: Sequence[Problem]) -> str:
    counts = Counter(problem.gravity for problem in problems)
    said = [_counted(counts[gravity], gravity) for gravity in Gravity if counts[gravity]]
    if not said:
        return "Nothing is wrong."
    text = " and ".join(said)
    return f"{text}." if counts[Gravity.PROBLEM] else f"No problem; {text}."


def _counted(count: float, noun: str) -> str:
    return f"{count:g} {noun}{'' if count == 1 else 's'}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds >= 1 else f"{1000 * seconds:.2g} ms"


def _signed(seconds: float) -> str:
    return f"{'-' if seconds < 0 else '+'}{_seconds(abs(seconds))}"


def _or_unknown(value: float | None, text: Any) -> str:  # noqa: ANN401 - a function of a number
    return _UNKNOWN if value is None else str(text(value))
