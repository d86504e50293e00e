"""The whole course of a sweep that runs as a job of a cluster, and of its results back here."""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import valid_signals

from ray.job_submission import JobStatus

import ddp_sweep
from ddp_sweep.cluster.submission import RESUME_VARIABLE, packing
from ddp_sweep.cluster.submission.fetching import place, unpack
from ddp_sweep.cluster.submission.jobs import ClusterJobs, Job
from ddp_sweep.cluster.submission.shipment import Shipment
from ddp_sweep.errors import ClusterRefusedError, FetchError, SubmissionError
from ddp_sweep.results import ResultsFolder

__all__ = ["Fetched", "Submission", "exit_code_of", "fetch", "results_folder_there", "start"]

_FETCH_DEADLINE_S = 600.0
_DIED_EXIT_CODE = 1
_INTERRUPTED_EXIT_CODE = 130
_KILLED_BELOW_SHELL = 128
"""A shell adds this to the number of the signal that killed its command."""
_NO_SUCH_COMMAND = (126, 127)
_GO_ON = "the same command goes on"
_OF_A_SWEEP = "ddp_sweep_name"
_RESULTS = "ddp_sweep_results"
_CONTENTS = "ddp_sweep_contents"


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A sweep that is to run as a job."""

    name: str
    """Of the sweep."""
    shipment: Shipment
    overrides: tuple[str, ...] = ()
    """Settings replaced, each ``a.b=value``."""
    run_options: tuple[str, ...] = ()
    """Words passed on to ``ddp-sweep run``."""
    results: str
    """Results folder on the cluster; ``~`` is the home of whoever runs Ray there."""
    resume_command: str

    @property
    def entrypoint(self) -> str:
        """The shell command of the job; the ranking is printed where the results arrive."""
        settings = [word for text in self.overrides for word in ("--set", text)]
        sweep = [self.shipment.sweep_file, *settings]
        check = ["python", "-m", "ddp_sweep.cluster.submission.checks", *sweep]
        run = ["python", "-m", "ddp_sweep.cli", "run", *sweep, *self.run_options]
        run += ["--address", "auto", "--progress", "plain", "--output"]
        output = shlex.quote(self.results)
        if self.results.startswith("~/"):  # a quoted ~ is none
            output = f"~/{shlex.quote(self.results.removeprefix('~/'))}"
        return f"{shlex.join(check)} && {shlex.join(run)} {output} >/dev/null"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What a fetch brought."""

    there: str | None
    """The results folder on the cluster; None where there is none yet."""
    files: int
    new: int
    """Those that were not here, or had changed."""


def results_folder_there(name: str) -> str:
    """Where a sweep's results lie on the cluster if nothing else is asked for.

    By the name of the sweep and not of the job: so the next job of the same sweep goes on.
    """
    return f"~/ddp-sweep-results/{name}"


def start(jobs: ClusterJobs, submission: Submission) -> tuple[str, bool]:
    """Start the job, unless it runs already.

    Returns:
        The id of the job, and whether it is new.

    Raises:
        ClusterRefusedError: The cluster does not take it.
        SubmissionError: A job that differs writes to the same results folder.
    """
    with tempfile.TemporaryDirectory(prefix="ddp-sweep-") as scratch:
        folder = Path(scratch)
        submission.shipment.lay_out(folder)
        contents = _digest(folder, submission.entrypoint)
        running = _running_with(jobs, submission.results)
        if running is not None:
            if running.metadata.get(_CONTENTS) == contents:
                return running.job_id, False
            raise SubmissionError(
                f"job {running.job_id} writes to {submission.results} on {jobs.address}, and its "
                "sweep file, code or options differ from these. Wait for its end, stop it "
                f"({jobs.command('job', 'stop', '--address', jobs.address, running.job_id)}), or "
                "choose another folder there with --results"
            )
        safe_name = re.sub(r"[^A-Za-z0-9_.-]", "-", submission.name)
        job_id = jobs.submit(
            submission.entrypoint,
            job_id=f"{safe_name}-{secrets.token_hex(3)}",
            folder=folder,
            metadata={
                "ddp_sweep_version": ddp_sweep.__version__,
                _OF_A_SWEEP: submission.name,
                _RESULTS: submission.results,
                _CONTENTS: contents,
            },
            variables={RESUME_VARIABLE: submission.resume_command},
        )
    return job_id, True


def others_running(jobs: ClusterJobs, job_id: str) -> list[str]:
    """Jobs that the cluster runs beside this one, which take time from it."""
    return [one.job_id for one in jobs.all() if not one.ended and one.job_id != job_id]


def sweep_of(job: Job) -> tuple[str, str]:
    """The name of the sweep that a job runs, and its results folder there.

    Raises:
        FetchError: It runs none.
    """
    try:
        return job.metadata[_OF_A_SWEEP], job.metadata[_RESULTS]
    except KeyError:
        raise FetchError(
            f"job {job.job_id} was not started by `ddp-sweep submit`; give the id that it printed"
        ) from None


def fetch(jobs: ClusterJobs, job: Job, folder: ResultsFolder) -> Fetched:
    """Bring the results of a job here, as far as it has come.

    Whole files only, their checksums compared. They come as the log of a small job on the node
    that has them: the way that every cluster leaves open which lets jobs be submitted.

    Raises:
        FetchError: They did not arrive whole, or the folder here holds others.
    """
    results = sweep_of(job)[1]
    files: dict[str, bytes] = {}
    there, more, last = None, True, ""
    while more:
        parcel = unpack(_packed(jobs, job, results, last))
        there, more = parcel.folder, parcel.more
        files |= parcel.files
        last = next(reversed(parcel.files), last)
    new = place(files, folder, f"job {job.job_id} in {there}") if files else 0
    return Fetched(there=there, files=len(files), new=new)


def exit_code_of(job: Job, emit: Callable[[str], None]) -> int:
    """What the sweep of an ended job ended with.

    Raises:
        ClusterRefusedError: It never began.
    """
    if job.status == JobStatus.SUCCEEDED:
        return 0
    if job.status == JobStatus.STOPPED:
        emit(f"the job was stopped; {_GO_ON}")
        return _INTERRUPTED_EXIT_CODE
    if job.exit_code in _NO_SUCH_COMMAND:
        raise ClusterRefusedError(
            f"job {job.job_id} could not be started: there is no `python` on the head node. Start "
            "Ray there with the bin folder of its environment in PATH"
        )
    if job.exit_code is None and job.node_id is not None:
        emit(f"the job ended without an exit code: {_essence(job.message)}; {_GO_ON}")
        return _DIED_EXIT_CODE
    if job.exit_code is None:
        raise ClusterRefusedError(
            f"job {job.job_id} could not be started: {_essence(job.message)}\n"
            f"More: ray job logs --address ADDRESS {job.job_id}"
        )
    if signal := _signal_of(job.exit_code):
        emit(f"the job was killed by signal {signal}; {_GO_ON}")
        return _DIED_EXIT_CODE
    return job.exit_code


def _signal_of(exit_code: int) -> int:
    """What killed a process, by its own exit code or that of its shell; 0 for none."""
    if exit_code < 0:
        return -exit_code
    below_shell = exit_code - _KILLED_BELOW_SHELL
    killed = exit_code != _INTERRUPTED_EXIT_CODE and below_shell in valid_signals()
    return below_shell if killed else 0


def _running_with(jobs: ClusterJobs, results: str) -> Job | None:
    active = [one for one in jobs.all() if not one.ended]
    return next((one for one in active if one.metadata.get(_RESULTS) == results), None)


def _packed(jobs: ClusterJobs, job: Job, results: str, after: str) -> str:
    """The log of a job that printed results which come after a file."""
    source = Path(packing.__file__).read_text(encoding="utf-8")
    packer = jobs.submit(
        shlex.join(["python", "-c", source, results, after]),
        metadata={"ddp_sweep_fetches": job.job_id},
        node_id=job.node_id,
    )
    ended = jobs.wait(packer, _FETCH_DEADLINE_S)
    if ended.status != JobStatus.SUCCEEDED:
        raise FetchError(
            f"the results could not be read on the cluster: {_essence(ended.message)}. They are "
            f"in {results} there"
        )
    return jobs.logs(packer)


def _digest(folder: Path, entrypoint: str) -> str:
    digest = hashlib.sha256(entrypoint.encode())
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _essence(message: str) -> str:
    """The line that says what happened, of a message with a traceback in it."""
    lines = [line.strip() for line in message.splitlines() if line.strip()] or ["no reason given"]
    telling = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (telling or lines)[-1]
