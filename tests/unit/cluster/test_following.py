"""A job is followed through connections that break; the cluster is a stand-in with a clock."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from ray.job_submission import JobStatus

from ddp_sweep.cluster.submission import following
from ddp_sweep.cluster.submission.jobs import Job
from ddp_sweep.errors import ClusterRefusedError

LINES = [f"line {number}\n" for number in range(4)]
Act = Callable[["Cluster"], None]


class Cluster:
    """Each connection sends the log from its start, as far as it is, and then ends as it is told.

    Args:
        connections: Lines that each sends, and what happens next; the last one is repeated.
    """

    def __init__(self, *connections: tuple[int, Act]) -> None:
        self.now = 0.0
        self.status = JobStatus.RUNNING
        self.connections = itertools.chain(connections, itertools.repeat(connections[-1]))

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def tail(self, _: str) -> AsyncIterator[str]:
        lines, act = next(self.connections)
        if lines:
            yield "".join(LINES[:lines])
        if act is hang:
            await asyncio.Event().wait()
        act(self)

    def get(self, job_id: str) -> Job:
        return Job(job_id=job_id, status=self.status, message="", exit_code=0, node_id=None)


def end(cluster: Cluster) -> None:
    cluster.status = JobStatus.SUCCEEDED


def hang(_: Cluster) -> None:
    pass


def breaks_after(seconds: float) -> Act:
    def act(cluster: Cluster) -> None:
        cluster.now += seconds
        raise ClusterRefusedError("no Ray dashboard answers")

    return act


def followed(monkeypatch: pytest.MonkeyPatch, cluster: Any) -> str:
    monkeypatch.setattr(following, "time", cluster)
    said: list[str] = []
    following.follow(cluster, "j", said.append)
    return "".join(said)


@pytest.mark.parametrize("seconds", [1, 3 * 3600])
def test_what_was_shown_before_a_break_is_not_shown_again(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    cluster = Cluster((2, breaks_after(seconds)), (3, breaks_after(seconds)), (4, end))

    assert followed(monkeypatch, cluster) == "".join(LINES)


def test_a_cluster_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster((2, breaks_after(3600)), (0, breaks_after(1)))

    with pytest.raises(ClusterRefusedError):
        followed(monkeypatch, cluster)


def test_a_connection_that_went_silent_is_left_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "_SILENCE_S", 0.01)
    cluster = Cluster((2, hang), (0, hang), (4, end))

    assert followed(monkeypatch, cluster) == "".join(LINES)


def test_lines_of_ray_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    of_ray = "Running entrypoint for job j: python\n"
    monkeypatch.setitem(globals(), "LINES", ["a\n", of_ray, "b\n"])

    assert followed(monkeypatch, Cluster((3, end))) == "a\nb\n"
