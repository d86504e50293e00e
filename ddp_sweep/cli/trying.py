"""The verb that tries a workload out before anything is started: try."""

from __future__ import annotations

import functools
import sys
import traceback
from typing import TYPE_CHECKING, Annotated

import typer

from ddp_sweep.cli.arguments import Overrides, Sweep, sweep_words
from ddp_sweep.cli.printing import stdout
from ddp_sweep.errors import DdpSweepError

if TYPE_CHECKING:
    from ddp_sweep.spec import SweepSpec
    from ddp_sweep.training.tried import Tryout

__all__ = ["try_workload"]


def try_workload(
    sweep: Sweep,
    overrides: Overrides = None,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            help="Whole tracebacks, where a gradient became NaN, and the debugger at the fault.",
        ),
    ] = False,
) -> None:
    """Train a few steps in this process, without Ray; finds most faults of a workload."""
    from ddp_sweep.report.tryout_view import print_tryout, view_tryout
    from ddp_sweep.spec import load_spec

    spec = load_spec(sweep, overrides or ())
    tried = _debugged(spec) if debug else _try_out(spec)
    words = sweep_words(sweep, overrides or ())
    print_tryout(tried, words, stdout())
    if not view_tryout(tried, words).works:
        raise typer.Exit(1)


def _try_out(spec: SweepSpec, *, debug: bool = False) -> Tryout:
    from ddp_sweep.plan import build_plan
    from ddp_sweep.training.tried import SpeedMemory
    from ddp_sweep.training.tryout import try_out
    from ddp_sweep.workload import code_version, load_workload, located

    factory = load_workload(spec.workload, spec.base_dir)
    tried = try_out(
        spec,
        located(factory, spec.base_dir),
        lambda lengths: build_plan(
            spec, capacity=spec.resources.max_workers, train_lengths=lengths
        ),
        # Words, not a bar: a debugger that a workload starts needs the terminal for itself.
        say=functools.partial(print, "...", file=sys.stderr, flush=True),
        find_nan=debug,
    )
    if tried.speed is not None and not debug:
        SpeedMemory.of_this_user(code_version(factory)).keep(tried.planned, tried.speed)
    return tried


def _debugged(spec: SweepSpec) -> Tryout:
    """The same, with everything that can be known of a fault."""
    try:
        return _try_out(spec, debug=True)
    except Exception as error:
        if isinstance(error, DdpSweepError) and error.__cause__ is None:
            raise  # a message that says all there is to say
        traceback.print_exception(error)
        if sys.stdin.isatty():
            import pdb

            pdb.post_mortem((error.__cause__ or error).__traceback__)
        raise typer.Exit(2) from None
