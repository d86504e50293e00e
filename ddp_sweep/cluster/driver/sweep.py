"""Run a sweep: what the results folder lacks, on a cluster, until nothing is left or it must stop.

Connects the parts and holds no decision of its own about a trial: the plan says what, the schedule
what next, a lane runs it, the reporter writes it.
"""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

import ddp_sweep
from ddp_sweep.analysis import Ranking, rank
from ddp_sweep.cluster.driver.agenda import (
    Additions,
    add_confirmation,
    idle_because,
    nothing_ran,
    require_results,
)
from ddp_sweep.cluster.driver.attempts import Attempts
from ddp_sweep.cluster.driver.feed import Feed
from ddp_sweep.cluster.driver.ledger import Ledger
from ddp_sweep.cluster.driver.progress import Progress, observer_for, summary
from ddp_sweep.cluster.driver.seed_additions import SeedBook
from ddp_sweep.cluster.driver.session import Session
from ddp_sweep.cluster.driver.settlement import refuse_other_code, refuse_other_spec, settle_spec
from ddp_sweep.cluster.driver.winner import write_winner
from ddp_sweep.cluster.gang.sent_workload import SentWorkload
from ddp_sweep.cluster.gang.serving import WorkerFactory
from ddp_sweep.errors import CapacityError, DdpSweepError
from ddp_sweep.live import Observer
from ddp_sweep.plan import MoreSeeds, Plan, build_plan
from ddp_sweep.reporter import Reporter, SweepFacts
from ddp_sweep.results import ResultsFolder, ResultsWarning, local_path
from ddp_sweep.results.lock import locked
from ddp_sweep.results.quarantine import quarantine_curves, quarantine_rows
from ddp_sweep.results.whole_files import remove_leftovers, writing
from ddp_sweep.schema import TABLES, Status
from ddp_sweep.spec import Json, SweepSpec
from ddp_sweep.training.inspection import Inspected, directions_of_all
from ddp_sweep.training.worker import Worker
from ddp_sweep.workload import WorkloadFactory, code_version, load_workload, located

__all__ = ["Additions", "SweepOutcome", "run_sweep"]

_FAULT_EXIT_CODE = 1
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
    ranking: Ranking | None = None
    """Of all that the folder holds; None where nothing can be ranked yet."""
    no_ranking_because: str | None = None

    def __str__(self) -> str:
        """The message and the ranking, as a terminal shows them."""
        if self.ranking is None:
            return f"{self.message}\nno ranking: {self.no_ranking_because}"
        return f"{self.message}\n\n{self.ranking}"

    def _repr_html_(self) -> str | None:
        return None if self.ranking is None else self.ranking._repr_html_()


def run_sweep(
    spec: SweepSpec,
    *,
    output: str | Path,
    address: str | None = None,
    workload: WorkloadFactory | None = None,
    progress: Progress = "auto",
    observer: Observer | None = None,
    additions: Additions | None = None,
    resume_command: str = "the same call without additions",
    worker_factory: WorkerFactory | None = None,
) -> SweepOutcome:
    """Run the trials of a sweep that have no result yet, and rank the configurations.

    Args:
        spec: The sweep file.
        output: Results folder; one that another run of the same sweep began is gone on with.
        address: ``host:port`` or ``auto`` of a Ray cluster; None runs on this machine.
        workload: Used in place of the one ``spec`` names, for workloads made in a notebook.
        progress: ``auto`` and ``plain``: a line on stderr for each trial; ``none``: silence.
        observer: Is told of everything that happens, in place of those lines.
        additions: What to add to a folder that has results, and which changes to accept.
        resume_command: What to name in the message as the way to go on after an interruption.
        worker_factory: What runs trials in the process of a rank, in place of
            :class:`ddp_sweep.training.worker.Worker`.

    Raises:
        AddressError: The address is of a kind that is not supported.
        CapacityError: No cluster, or its workers cannot be started.
        FolderInUseError: Another run is writing to the folder.
        MoreSeedsError: Seeds cannot be added to the folder as it is.
        ResultsError: The folder is no local folder, cannot be made or written to, or is not ours.
        SpecChangedError: The folder was made by another sweep file or by other code.
        SpecError: The sweep file asks for what the workload or this version lacks.
        WorkloadError: The workload cannot be loaded or returns the wrong thing.
        WriteError: The disk became full, or the folder could not be written to any more.
    """
    asked = additions or Additions()
    factory = workload or load_workload(spec.workload, spec.base_dir)
    inspected = Inspected(spec, located(factory, spec.base_dir))
    plan_for = _planner(spec, inspected)
    plan_for(None, ())  # a workload that cannot work is found before the folder is touched
    sent = worker_factory or (Worker if workload is None else SentWorkload.of(workload))
    folder = ResultsFolder(local_path(output).absolute())
    require_results(folder, asked, resume_command)
    facts = _facts(spec, factory)
    reporter = Reporter(folder, facts, directions_of_all(inspected.all))
    with locked(folder):
        found = folder.read(("trials",))
        refuse_other_code(found, facts.code_version, accept=asked.accept_code_change)
        refuse_other_spec(found, spec, extend=asked.extend)
        # Nothing in the folder was touched so far: it may be that of another sweep.
        _tidy(folder, reporter)
        results = folder.read(("trials",))
        settle_spec(results, spec, extend=asked.extend)
        if results.trials.empty:  # seeds of a sweep file that was changed before its first trial
            with writing(folder.seeds_file):
                folder.seeds_file.unlink(missing_ok=True)
            results = replace(results, additions=())
        book = SeedBook(results, spec, facts.session_id)
        confirm_seeds = spec.quality.confirm_seeds
        idle = idle_because(
            folder,
            asked,
            book,
            lambda: plan_for(None, book.added),
            confirm_seeds=confirm_seeds,
            resume_command=resume_command,
        )
        watching = observer or observer_for(progress)
        with Feed(watching, folder, resume_command=resume_command) as feed:
            session = Session(
                spec=spec,
                folder=folder,
                reporter=reporter,
                plan_for=lambda capacity: plan_for(capacity, book.added),
                worker_factory=sent,
                feed=feed,
                only_failed=asked.only == "failed",
                confirm=lambda: add_confirmation(folder, book, confirm_seeds),
            )
            interrupted = idle is None and session.run(address)
        outcome = _outcome(session, idle, interrupted, resume_command)
        outcome = replace(outcome, **_ranked(Path(output)))
        write_winner(folder, outcome.ranking)
        return outcome


def _tidy(folder: ResultsFolder, reporter: Reporter) -> None:
    """Bring a folder into the state that every run leaves it in unless it is killed.

    Raises:
        ResultsError: Something in it cannot be read for now, or it is no results folder.
        WriteError: The disk is full, or the folder cannot be written to.
    """
    tables = [folder.table(name) for name in TABLES]
    remove_leftovers([*tables, folder.attempts])
    moved = list(quarantine_rows(folder))
    # Before the curves: those of an attempt that was interrupted at its very end belong to it.
    Attempts(folder, reporter).settle()
    moved += quarantine_curves(folder)
    for sentence in moved:
        warnings.warn(sentence, ResultsWarning, stacklevel=4)


def _planner(
    spec: SweepSpec, inspected: Inspected
) -> Callable[[int | None, Sequence[MoreSeeds]], Plan]:
    """Makes the plan for a capacity; looks at each variant of the workload once only."""

    def train_length(options: Mapping[str, Json]) -> int:
        return inspected(options).train_samples

    return lambda capacity, more: build_plan(
        spec, capacity=capacity, train_lengths=train_length, more_seeds=more
    )


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


def _outcome(
    session: Session, idle: str | None, interrupted: bool, resume_command: str
) -> SweepOutcome:
    plan = session.plan or session.plan_for(None)
    ledger = Ledger(session.folder.read(("trials",)))
    planned = len(plan.trials) + len(plan.infeasible)
    text = idle or summary(ledger.statuses(plan), planned)
    if idle is None and session.ran == 0 and not (interrupted or ledger.pending(plan.trials)):
        text = nothing_ran(plan)  # what is infeasible here might have fitted now
    exit_code = _exit_code(ledger.endings(plan))
    if session.fell_short is not None:
        exit_code = CapacityError.exit_code
        text += (
            f". The larger trials could not run: {session.fell_short}. The same command runs them "
            "once there is room"
        )
    if interrupted:
        exit_code = _INTERRUPTED_EXIT_CODE
        text = f"Interrupted; {text}. To go on: {resume_command}"
    return SweepOutcome(
        exit_code=exit_code, folder=session.folder.path, ran=session.ran, message=text
    )


def _ranked(output: Path) -> dict[str, Any]:
    """Fields of an outcome: the ranking, or why there is none."""
    try:
        return {"ranking": rank(output)}
    except DdpSweepError as error:  # such as: no trial has ended yet
        return {"no_ranking_because": str(error)}


def _exit_code(endings: list[str | None]) -> int:
    return 0 if all(ending in _NO_FAULT for ending in endings) else _FAULT_EXIT_CODE
