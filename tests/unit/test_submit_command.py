"""What `submit` does at the end of a job: whether results are fetched, and the exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.job_submission import JobStatus

from ddp_sweep.cli import submitting
from ddp_sweep.cluster.submission import following, submit
from ddp_sweep.cluster.submission.jobs import Job
from ddp_sweep.errors import FetchError


class Cluster:
    """Knows one job, and gives or refuses its results."""

    def __init__(self, exit_code: int, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.fetched = 0
        status = JobStatus.FAILED if exit_code else JobStatus.SUCCEEDED
        self.job = Job(job_id="j", status=status, message="", exit_code=exit_code, node_id="n")

    def get(self, _: str) -> Job:
        return self.job

    def fetch(self, *_: Any) -> submit.Fetched:
        if self.refuses:
            raise FetchError("the folder holds other results")
        self.fetched += 1
        return submit.Fetched(there=None, files=0, new=0)


def ended(monkeypatch: pytest.MonkeyPatch, cluster: Any) -> int:
    monkeypatch.setattr(following, "follow", lambda *_: cluster.job)
    monkeypatch.setattr(submit, "fetch", cluster.fetch)
    return submitting._follow(cluster, "j", Path("results"))


@pytest.mark.parametrize("exit_code", [0, 1, 3, 130])
def test_what_was_measured_comes_here_also_where_larger_trials_found_no_room(
    monkeypatch: pytest.MonkeyPatch, exit_code: int
) -> None:
    cluster = Cluster(exit_code)

    assert ended(monkeypatch, cluster) == exit_code
    assert cluster.fetched == 1


def test_nothing_is_fetched_for_a_sweep_that_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(2)

    assert ended(monkeypatch, cluster) == 2
    assert cluster.fetched == 0


def test_results_that_cannot_be_had_do_not_hide_that_there_was_no_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, Cluster(3, refuses=True)) == 3
    assert "nothing was fetched: the folder holds other results" in capsys.readouterr().err
    with pytest.raises(FetchError):
        ended(monkeypatch, Cluster(1, refuses=True))
