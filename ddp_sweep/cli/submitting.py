"""The verb that runs a sweep on a cluster elsewhere, or writes what a scheduler needs: submit."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddp_sweep.cli.arguments import Overrides
from ddp_sweep.cli.printing import show_ranking
from ddp_sweep.cli.running import Only, resume_command
from ddp_sweep.errors import CapacityError, DdpSweepError, SubmissionError

if TYPE_CHECKING:
    from ddp_sweep.cluster.submission.jobs import ClusterJobs
    from ddp_sweep.cluster.submission.shipment import Shipment
    from ddp_sweep.cluster.submission.submit import Submission
    from ddp_sweep.spec import SweepSpec

__all__ = ["submit"]

_INTERRUPTED_EXIT_CODE = 130
_REFUSED = SubmissionError.exit_code
"""Exit code of a sweep that was refused; what lies in its results folder may be another's."""


class Manifest(StrEnum):
    """What reads the file that is printed in place of submitting."""

    KUBERAY = "kuberay"
    SLURM = "slurm"


Sent = Annotated[
    list[Path] | None,
    typer.Option(metavar="PATH", help="Send this file or folder too; may be repeated."),
]
Results = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="Results folder on the cluster; ~/ddp-sweep-results/<name> if not given.",
    ),
]
Workers = Annotated[
    int, typer.Option(min=1, metavar="N", help="With --manifest: workers on one node.")
]
Hours = Annotated[float, typer.Option(min=0.01, help="With --manifest: the time limit.")]
Image = Annotated[str | None, typer.Option(help="With --manifest kuberay: of all containers.")]
Claim = Annotated[
    str | None,
    typer.Option(help="With --manifest kuberay: a PersistentVolumeClaim that exists."),
]
Interface = Annotated[
    str | None,
    typer.Option(help="With --manifest slurm: the network between nodes, such as ib0."),
]


def submit(
    sweep: Annotated[
        Path | None,
        typer.Argument(metavar="SWEEP", help="The sweep file; not needed with --fetch."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Dashboard of the cluster: http://HOST:8265, HOST its head node."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Results folder here; results/<name> if not given.")
    ] = None,
    overrides: Overrides = None,
    more_seeds: Annotated[int | None, typer.Option(min=1, metavar="N", help="As in run.")] = None,
    only: Annotated[Only | None, typer.Option(help="As in run.")] = None,
    extend: Annotated[bool, typer.Option("--extend", help="As in run.")] = False,
    accept_code_change: Annotated[
        bool, typer.Option("--accept-code-change", help="As in run.")
    ] = False,
    ship: Sent = None,
    results: Results = None,
    fetch: Annotated[
        str | None,
        typer.Option(metavar="JOB", help="Only bring the results of this job, as far as it is."),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Start the job and leave it to itself.")
    ] = False,
    manifest: Annotated[
        Manifest | None,
        typer.Option(help="Print a RayJob for Kubernetes, or a script for sbatch, instead."),
    ] = None,
    workers_per_node: Workers = 1,
    hours: Hours = 12.0,
    image: Image = None,
    claim: Claim = None,
    interface: Interface = None,
) -> None:
    """Run a sweep as a job of a Ray cluster, and bring its results here."""
    if manifest is None and address is None:
        raise typer.BadParameter("give --address http://HOST:8265, HOST the cluster's head node")
    if address is not None and fetch is not None:
        raise typer.Exit(_fetch(address, fetch, sweep, output, overrides or []))
    if sweep is None:
        raise typer.BadParameter("give the sweep file; only --fetch JOB does without")
    from ddp_sweep.spec import load_spec

    sent = _Sent(
        sweep=sweep,
        spec=load_spec(sweep, overrides or ()),
        overrides=tuple(overrides or ()),
        run_options=_run_options(more_seeds, only, extend, accept_code_change),
        ship=tuple(ship or ()),
        results=results,
    )
    if manifest is Manifest.KUBERAY:
        print(_rayjob(sent, workers_per_node, hours, image, claim), end="")
    elif manifest is Manifest.SLURM:
        print(_sbatch(sent, workers_per_node, hours, interface), end="")
    else:
        assert address is not None
        raise typer.Exit(_run(address, sent, output or Path("results") / sent.spec.name, no_wait))


@dataclass(frozen=True, kw_only=True)
class _Sent:
    """A sweep as it was asked for, wherever it is to run."""

    sweep: Path
    spec: SweepSpec
    overrides: tuple[str, ...]
    run_options: tuple[str, ...]
    ship: tuple[Path, ...]
    results: str | None

    @property
    def shipment(self) -> Shipment:
        from ddp_sweep.cluster.submission.shipment import plan_shipment

        return plan_shipment(self.sweep, self.spec.workload, self.spec.base_dir, self.ship)


def _rayjob(
    sent: _Sent, workers_per_node: int, hours: float, image: str | None, claim: str | None
) -> str:
    from ddp_sweep.cluster.submission.manifests import kuberay_manifest, machines_for

    return kuberay_manifest(
        sent.spec,
        machines_for(sent.spec, workers_per_node),
        sent.shipment,
        overrides=sent.overrides,
        run_options=sent.run_options,
        image=image,
        claim=claim,
        results=sent.results,
        hours=hours,
    )


def _sbatch(sent: _Sent, workers_per_node: int, hours: float, interface: str | None) -> str:
    from ddp_sweep.cluster.submission.manifests import machines_for, slurm_script

    return slurm_script(
        sent.spec,
        machines_for(sent.spec, workers_per_node),
        sent.sweep,
        overrides=sent.overrides,
        run_options=sent.run_options,
        results=sent.results,
        interface=interface,
        hours=hours,
    )


def _run(address: str, sent: _Sent, output: Path, no_wait: bool) -> int:
    from ddp_sweep.cluster.submission.jobs import ClusterJobs
    from ddp_sweep.cluster.submission.submit import others_running, start

    submission = _submission(sent)
    jobs = ClusterJobs(address)
    job_id, is_new = start(jobs, submission)
    state = "was started" if is_new else "runs this sweep already"
    _say(f"job {job_id} on {jobs.address} {state}; its results there: {submission.results}")
    others = others_running(jobs, job_id)
    if others:
        _say(
            f"warning: the cluster also runs {', '.join(others)}; times measured meanwhile are "
            "too long"
        )
    how_to_go_on = _commands(jobs, job_id, sent.sweep, output)
    if no_wait:
        _say(how_to_go_on)
        return 0
    try:
        return _follow(jobs, job_id, output)
    except KeyboardInterrupt:
        _say(f"\nThe job goes on without this program.\n{how_to_go_on}")
        return _INTERRUPTED_EXIT_CODE


def _follow(jobs: ClusterJobs, job_id: str, output: Path) -> int:
    from ddp_sweep.cluster.submission.following import follow
    from ddp_sweep.cluster.submission.submit import exit_code_of

    job = follow(jobs, job_id, lambda text: print(text, end="", file=sys.stderr, flush=True))
    code = exit_code_of(job, _say)
    if code != _REFUSED:
        try:
            _bring(jobs, job_id, output)
        except DdpSweepError as error:
            if code != CapacityError.exit_code:  # with it, perhaps no trial has run at all
                raise
            _say(f"nothing was fetched: {error}")
    return code


def _fetch(
    address: str, job_id: str, sweep: Path | None, output: Path | None, overrides: list[str]
) -> int:
    from ddp_sweep.cluster.submission.jobs import ClusterJobs
    from ddp_sweep.cluster.submission.submit import exit_code_of, sweep_of

    jobs = ClusterJobs(address)
    job = jobs.get(job_id)
    name, _ = sweep_of(job)
    if sweep is not None:
        from ddp_sweep.spec import load_spec

        asked = load_spec(sweep, overrides).name
        if asked != name:
            raise SubmissionError(
                f"job {job_id} runs the sweep {name!r}, and {sweep} is {asked!r}; leave the sweep "
                "file out, or give the job that runs it"
            )
    _bring(jobs, job_id, output or Path("results") / name)
    if not job.ended:
        _say(f"job {job_id} is still {job.status.lower()}; the same command fetches what is new")
        return 0
    return exit_code_of(job, _say)


def _bring(jobs: ClusterJobs, job_id: str, output: Path) -> None:
    """Fetch the results and rank them."""
    from ddp_sweep.analysis import rank
    from ddp_sweep.cluster.submission.submit import fetch
    from ddp_sweep.results import ResultsFolder

    fetched = fetch(jobs, jobs.get(job_id), ResultsFolder(output.absolute()))
    if not fetched.files:
        _say(f"job {job_id} has no results yet")
        return
    _say(f"{fetched.files} files of {fetched.there} are in {output}, {fetched.new} of them new")
    try:
        show_ranking(rank(output))
    except DdpSweepError as error:
        _say(f"no ranking: {error}")


def _submission(sent: _Sent) -> Submission:
    from ddp_sweep.cluster.submission.submit import Submission, results_folder_there

    return Submission(
        name=sent.spec.name,
        shipment=sent.shipment,
        overrides=sent.overrides,
        run_options=sent.run_options,
        results=sent.results or results_folder_there(sent.spec.name),
        resume_command=resume_command(),
    )


def _run_options(
    more_seeds: int | None, only: Only | None, extend: bool, accept_code_change: bool
) -> tuple[str, ...]:
    options = [] if more_seeds is None else ["--more-seeds", str(more_seeds)]
    options += [] if only is None else ["--only", only.value]
    options += ["--extend"] if extend else []
    options += ["--accept-code-change"] if accept_code_change else []
    return tuple(options)


def _commands(jobs: ClusterJobs, job_id: str, sweep: Path, output: Path) -> str:
    fetch = ["ddp-sweep", "submit", str(sweep), "--address", jobs.address, "--fetch", job_id]
    if output != Path("results") / output.name:
        fetch += ["--output", str(output)]
    return (
        f"Its results so far, at any time: {shlex.join(fetch)}\n"
        "To follow it again: the same command as before\n"
        f"To stop it: {jobs.command('job', 'stop', '--address', jobs.address, job_id)}"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr)
