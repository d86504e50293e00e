"""What scripts and notebooks call; rankings made through here draw themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ddp_sweep.analysis import Ranking, rank
from ddp_sweep.errors import WorkloadError
from ddp_sweep.report.notebook import draw_rankings
from ddp_sweep.spec import SweepSpec, load_spec, parse_spec

if TYPE_CHECKING:
    from ddp_sweep.cluster.driver.agenda import Additions
    from ddp_sweep.cluster.driver.sweep import SweepOutcome
    from ddp_sweep.workload import WorkloadFactory

__all__ = ["Ranking", "rank", "run_sweep"]

draw_rankings()


def run_sweep(
    spec: SweepSpec | Mapping[str, Any] | str | Path,
    *,
    workload: WorkloadFactory | None = None,
    output: str | Path | None = None,
    address: str | None = None,
    progress: Literal["auto", "plain", "none"] = "auto",
    additions: Additions | None = None,
) -> SweepOutcome:
    """Run the trials of a sweep that have no result yet, and rank the configurations.

    Args:
        spec: A sweep file, its contents as a dictionary, or what ``load_spec`` gave.
        workload: A workload class, or a function that returns a workload, also one defined in the
            calling script or notebook. Takes the place of the one that ``spec`` names, which may
            be left out.
        output: Results folder, ``results/<name>`` if None; one that another run of the same sweep
            began is gone on with.
        address: ``host:port`` or ``auto`` of a Ray cluster; None runs on this machine.
        progress: ``auto`` and ``plain``: a line on stderr for each trial; ``none``: silence.
        additions: What to add to a folder that has results, and which changes to accept.

    Returns:
        How it ended, as a text for ``print``; its ``ranking`` has ``to_frame()`` and is drawn as a
        table in notebooks and by ``print``.

    Raises:
        DdpSweepError: What a user can mend; see :func:`ddp_sweep.cluster.driver.sweep.run_sweep`.
    """
    from ddp_sweep.cluster.driver import sweep

    read = _read(spec, None if workload is None else _name(workload))
    return sweep.run_sweep(
        read,
        workload=workload,
        output=output if output is not None else Path("results") / read.name,
        address=address,
        progress=progress,
        additions=additions,
    )


def _read(spec: SweepSpec | Mapping[str, Any] | str | Path, workload: str | None) -> SweepSpec:
    if isinstance(spec, SweepSpec):
        return spec if workload is None else spec.model_copy(update={"workload": workload})
    if isinstance(spec, Mapping):
        return parse_spec(spec if workload is None else {**spec, "workload": workload})
    return load_spec(Path(spec), () if workload is None else (f"workload={workload}",))


def _name(workload: WorkloadFactory) -> str:
    """``module:name``, as a sweep file would say it."""
    try:
        return f"{workload.__module__}:{workload.__name__}"
    except AttributeError:
        raise WorkloadError(
            f"workload: received {workload!r}; allowed: a class, or a function that returns a "
            "workload (not a workload itself: each trial makes a fresh one)"
        ) from None
