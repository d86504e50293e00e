"""The jobs of a Ray cluster, through the HTTP address of its dashboard."""

from __future__ import annotations

import logging
import os
import re
import shlex
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import ray
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from ddp_sweep.errors import AddressError, ClusterRefusedError

__all__ = ["ClusterJobs", "Job"]

_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Ray would use these in place of the address that was given."""
_TERMINAL = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)
_LOGGERS = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
_POLL_S = 0.5
_CONNECT_TIMEOUT_S = 20.0
_ANSWER_TIMEOUT_S = 60.0
"""The cluster may take so long over a request; Ray itself would wait for ever."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as the cluster last described it."""

    job_id: str
    status: JobStatus
    message: str
    exit_code: int | None
    """Of the job's command; None while it runs, and where it never ran."""
    node_id: str | None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether it will not go on."""
        return self.status in _TERMINAL


class ClusterJobs:
    """Connects at once, so that a wrong address is found before anything is sent.

    Args:
        address: ``http://host:8265``, the address of the cluster's dashboard.

    Raises:
        AddressError: The address is of another kind.
        ClusterRefusedError: No cluster answers there, or one of another version.
    """

    def __init__(self, address: str) -> None:
        self.address = _dashboard_address(address)
        for logger in _LOGGERS:  # what they say of importance is in our messages
            logging.getLogger(logger).setLevel(logging.CRITICAL)
        self._require_version()
        with self._explained(), _without_addresses():
            self._client = _Client(self.address, headers=_token_header())

    def submit(
        self,
        entrypoint: str,
        *,
        job_id: str | None = None,
        folder: Path | None = None,
        metadata: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        node_id: str | None = None,
    ) -> str:
        """Start a job on the head node.

        Args:
            entrypoint: A shell command.
            job_id: What the job is to be called; Ray finds a name if None.
            folder: Is sent, and the command runs in it.
            metadata: Is kept with the job.
            variables: Environment variables of the job and all its workers.
            node_id: The node it must run on.

        Returns:
            The job's id.
        """
        runtime_env: dict[str, Any] = {"env_vars": dict(variables or {})}
        if folder is not None:
            runtime_env["working_dir"] = str(folder)
        place = {} if node_id is None else {"ray.io/node-id": node_id}
        with self._explained():
            submitted: str = self._client.submit_job(
                entrypoint=entrypoint,
                submission_id=job_id,
                runtime_env=runtime_env,
                metadata=dict(metadata or {}),
                entrypoint_label_selector=place or None,
            )
        return submitted

    def get(self, job_id: str) -> Job:
        """How a job is doing.

        Raises:
            ClusterRefusedError: The cluster does not answer, or knows no such job.
        """
        with self._explained(job_id):
            return _job(self._client.get_job_info(job_id))

    def all(self) -> list[Job]:
        """Every job that was submitted to the cluster since it started."""
        with self._explained():
            return [_job(one) for one in self._client.list_jobs() if one.submission_id]

    def command(self, *words: str) -> str:
        """A command of Ray's own for this cluster, to be pasted; its programs want a mode too."""
        return f"{'RAY_AUTH_MODE=token ' if _token() else ''}ray {shlex.join(words)}"

    def logs(self, job_id: str) -> str:
        """All that a job printed."""
        with self._explained(job_id):
            text: str = self._client.get_job_logs(job_id)
        return text

    async def tail(self, job_id: str) -> AsyncIterator[str]:
        """What a job has printed from the start, and what it prints then.

        Raises:
            ClusterRefusedError: The connection broke.
        """
        try:
            async for text in self._client.tail_job_logs(job_id):
                yield text
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise self._unreachable(error) from error

    def wait(self, job_id: str, deadline_s: float) -> Job:
        """A job that has ended.

        Raises:
            ClusterRefusedError: It did not end within the deadline.
        """
        ends_at = time.monotonic() + deadline_s
        while not (job := self.get(job_id)).ended:
            if time.monotonic() > ends_at:
                raise ClusterRefusedError(
                    f"job {job_id} on {self.address} did not end within {deadline_s:.0f} s; "
                    "look at the jobs in the dashboard there, and try again"
                )
            time.sleep(_POLL_S)
        return job

    def _require_version(self) -> None:
        with self._explained():
            url = f"{self.address}/api/version"
            answer = requests.get(url, headers=_token_header(), timeout=_CONNECT_TIMEOUT_S)
            if answer.status_code in (401, 403):
                raise AuthenticationError(answer.reason)
            answer.raise_for_status()
            described = answer.json()
            if not isinstance(described, dict) or "ray_version" not in described:
                raise ValueError("something else than Ray answers there")
            theirs = str(described["ray_version"])
        if theirs.split(".")[:2] != ray.__version__.split(".")[:2]:
            raise ClusterRefusedError(
                f"the cluster at {self.address} runs Ray {theirs}, and here is Ray "
                f"{ray.__version__}; start the cluster with the version that is here"
            )

    @contextmanager
    def _explained(self, job_id: str | None = None) -> Iterator[None]:
        """Ray's errors as ours."""
        try:
            yield
        except AuthenticationError as error:
            raise ClusterRefusedError(
                f"the cluster at {self.address} asks for its token, and "
                f"{'refused the one given' if _token() else 'none was given'}. Print it on the "
                "head node with `ray get-auth-token`, then here: export RAY_AUTH_TOKEN=..."
            ) from error
        except (ConnectionError, requests.exceptions.RequestException, ValueError) as error:
            raise self._unreachable(error) from error
        except RuntimeError as error:
            if job_id is not None and "does not exist" in str(error):
                raise ClusterRefusedError(
                    f"the cluster at {self.address} knows no job {job_id}: "
                    f"`ray job list --address {self.address}` lists those it has. A cluster that "
                    "was started anew knows none of before"
                ) from None
            raise ClusterRefusedError(
                f"the cluster at {self.address} refused: {_reason(error)}"
            ) from error

    def _unreachable(self, error: BaseException) -> ClusterRefusedError:
        return ClusterRefusedError(
            f"no Ray dashboard answers at {self.address}: {_reason(error)}\nallowed: the "
            "address of the dashboard on the head node, such as http://10.0.0.1:8265 (not the "
            "one that nodes join by, port 6379). Start Ray there with ray[default] and "
            "--dashboard-host=0.0.0.0, or bring the port here: "
            "ssh -L 8265:localhost:8265 HEAD, or `ray dashboard cluster.yaml`; then "
            "--address http://localhost:8265"
        )


class _Client(JobSubmissionClient):
    """Ray's own, which gives up on a cluster that does not answer."""

    def _do_request(self, method: str, endpoint: str, **more: Any) -> requests.Response:  # noqa: ANN401
        return super()._do_request(method, endpoint, timeout=_ANSWER_TIMEOUT_S, **more)


def _dashboard_address(given: str) -> str:
    scheme, separator, rest = given.strip().rpartition("://")
    rest = rest.rstrip("/")
    if given == "auto" or (separator and scheme not in ("http", "https")) or not rest:
        raise AddressError(
            f"address {given!r}: jobs are submitted to the dashboard of a cluster; allowed: "
            "http://HOST:8265, HOST the head node"
        )
    return f"{scheme or 'http'}://{rest}"


def _token() -> str | None:
    """The cluster's token, from where Ray itself looks for it."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        return None
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    try:
        return os.environ.get("RAY_AUTH_TOKEN") or file.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _token_header() -> dict[str, str]:
    """Ray itself sends the token only where RAY_AUTH_MODE asks for it."""
    token = _token()
    return {} if token is None else {"Authorization": f"Bearer {token}"}


@contextmanager
def _without_addresses() -> Iterator[None]:
    before = {name: os.environ.pop(name, None) for name in _ADDRESS_VARIABLES}
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _job(details: Any) -> Job:  # noqa: ANN401 - a pydantic model of Ray
    return Job(
        job_id=details.submission_id,
        status=details.status,
        message=details.message or "",
        exit_code=details.driver_exit_code,
        node_id=details.driver_node_id,
        metadata=details.metadata or {},
    )


def _reason(error: BaseException) -> str:
    """What an error says; of a traceback that a server sent, its end."""
    if found := re.search(r"\[Errno -?\d+\] ([^\"')\]]+)", str(error)):
        return found[1]
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return re.sub(r"^[\w.]+(Error|Exception): ", "", lines[-1].strip())
