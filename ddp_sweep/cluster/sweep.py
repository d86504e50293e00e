"""Run a sweep: what the results folder lacks, on a cluster, until nothing is left or it must stop.

Connects the parts and holds no decision of its own about a trial: the plan says what, the schedule
what next, a lane runs it, the reporter writes it.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ray

import ddp_sweep
from ddp_sweep.cluster.feed import Feed
from ddp_sweep.cluster.ledger import Ledger, locked, refuse_other_code, settle_spec
from ddp_sweep.cluster.progress import Progress, observer_for, summary
from ddp_sweep.cluster.serving import WorkerFactory
from ddp_sweep.cluster.session import Session
from ddp_sweep.live import Observer
from ddp_sweep.plan import Plan, build_plan
from ddp_sweep.reporter import Reporter, SweepFacts
from ddp_sweep.results import ResultsFolder
from ddp_sweep.schema import Status
from ddp_sweep.spec import Json, SweepSpec, canonical_json
from ddp_sweep.training.inspection import inspect_for
from ddp_sweep.training.worker import Worker
from ddp_sweep.workload import WorkloadFactory, code_version, load_workload

__all__ = ["SweepOutcome", "run_sweep"]

_INTERRUPTED_EXIT_CODE = 130
_NO_FAULT = (Status.SUCCEEDED, Status.INFEASIBLE, Status.OUT_OF_MEMORY, Status.DIVERGED)
"""Ends that are a measurement or an expected limit."""


@dataclass(frozen=True, kw_only=True)
class SweepOutcome:
    """How a run of a sweep ended."""

    exit_code: int
    """0: every trial ended in a measurement or an expected limit; 1: some did not; 130:
    interrupted."""
    folder: Path
    ran: int
    """Attempts that ended in this run."""
    message: str
    """For a person: what was done, and how to go on."""


def run_sweep(
    spec: SweepSpec,
    *,
    output: str | Path,
    address: str | None = None,
    workload: WorkloadFactory | None = None,
    progress: Progress = "auto",
    observer: Observer | None = None,
    resume_command: str = "the same call",
    worker_factory: WorkerFactory | None = None,
) -> SweepOutcome:
    """Run the trials of a sweep that have no result yet.

    Args:
        spec: The sweep file.
        output: Results folder; one that another run of the same sweep began is gone on with.
        address: ``host:port`` or ``auto`` of a Ray cluster; None runs on this machine.
        workload: Used in place of the one ``spec`` names, for workloads made in a notebook.
        progress: ``auto`` and ``plain``: a line on stderr for each trial; ``none``: silence.
        observer: Is told of everything that happens, in place of those lines.
        resume_command: What to name in the message as the way to go on after an interruption.
        worker_factory: What runs trials in the process of a rank, in place of
            :class:`ddp_sweep.training.worker.Worker`.

    Raises:
        AddressError: The address is of a kind that is not supported.
        CapacityError: No cluster, or its workers cannot be started.
        FolderInUseError: Another run is writing to the folder.
        ResultsError: The folder cannot be written to.
        SpecChangedError: The folder was made by another sweep file.
        SpecError: The sweep file asks for what the workload or this version lacks.
        WorkloadError: The workload cannot be loaded or returns the wrong thing.
    """
    factory = workload or load_workload(spec.workload, spec.base_dir)
    plan_for = _planner(spec, factory)
    whole = plan_for(None)
    folder = ResultsFolder(Path(output).absolute())
    with locked(folder):
        settle_spec(folder, spec)
        results = folder.read()
        facts = _facts(spec, factory)
        refuse_other_code(results, facts.code_version)
        ledger = Ledger(results)
        if not ledger.pending(whole.trials) and not ledger.without_row(whole.infeasible):
            return _nothing_to_do(ledger, whole, folder)
        watching = observer or observer_for(progress)
        with Feed(watching, folder, resume_command=resume_command) as feed:
            session = Session(
                spec=spec,
                folder=folder,
                reporter=Reporter(folder, facts),
                plan_for=plan_for,
                worker_factory=worker_factory or _worker_factory(workload),
                feed=feed,
            )
            interrupted = session.run(address)
        return _outcome(session, interrupted, resume_command)


def _planner(spec: SweepSpec, factory: WorkloadFactory) -> Callable[[int | None], Plan]:
    """Makes the plan for a capacity; looks at each variant of the workload once only."""
    lengths: dict[str, int] = {}

    def train_length(options: Mapping[str, Json]) -> int:
        key = canonical_json(dict(options))
        if key not in lengths:
            lengths[key] = inspect_for(spec, factory, options).train_samples
        return lengths[key]

    return lambda capacity: build_plan(spec, capacity=capacity, train_lengths=train_length)


def _worker_factory(workload: WorkloadFactory | None) -> WorkerFactory:
    return Worker if workload is None else functools.partial(Worker, factory=workload)


def _facts(spec: SweepSpec, factory: WorkloadFactory) -> SweepFacts:
    return SweepFacts(
        sweep=spec.name,
        session_id=uuid.uuid4().hex[:8],
        placement=spec.resources.placement,
        price_per_worker_hour=spec.resources.price_per_worker_hour,
        ray_version=ray.__version__,
        ddp_sweep_version=ddp_sweep.__version__,
        code_version=code_version(factory),
    )


def _nothing_to_do(ledger: Ledger, plan: Plan, folder: ResultsFolder) -> SweepOutcome:
    count = len(plan.trials) + len(plan.infeasible)
    return SweepOutcome(
        exit_code=_exit_code(ledger.endings(plan)),
        folder=folder.path,
        ran=0,
        message=f"All {count} trials were done; nothing ran. To run them anew, give another "
        "folder with --output",
    )


def _outcome(session: Session, interrupted: bool, resume_command: str) -> SweepOutcome:
    if session.plan is None:
        text, exit_code = "nothing ran", 0
    else:
        ledger = Ledger(session.folder.read())
        if session.ran == 0 and not interrupted and not ledger.pending(session.plan.trials):
            return _nothing_to_do(ledger, session.plan, session.folder)
        planned = len(session.plan.trials) + len(session.plan.infeasible)
        text = summary(ledger.statuses(session.plan), planned)
        exit_code = _exit_code(ledger.endings(session.plan))
    if interrupted:
        exit_code = _INTERRUPTED_EXIT_CODE
        text = f"Interrupted; {text}. To go on: {resume_command}"
    return SweepOutcome(
        exit_code=exit_code, folder=session.folder.path, ran=session.ran, message=text
    )


def _exit_code(endings: list[str | None]) -> int:
    return 0 if all(ending in _NO_FAULT for ending in endings) else 1
