from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError
from ray.train import WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from ddp_sweep.cluster.gang.deaths import NO_MEMORY, deaths, end_of_actor, end_of_gang

LOW = (
    "1 worker(s) were killed due to the node running low on memory. Memory on the node was 31GB / "
    "32GB (0.97)."
)
KILLED = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker "
    "exit detail: Worker unexpectedly exits with a connection error code 2. End of file. Some "
    "common causes include: (1) the process was killed by the OOM killer due to high memory usage"
)


def died(text: str) -> ActorDiedError:
    error = ActorDiedError()
    error.error_msg = text
    return error


def group_error(failure: BaseException) -> WorkerGroupError:
    found_dead = WorkerHealthCheckFailedError("A worker health check failed.", failure=failure)
    return WorkerGroupError(
        "failed", {1: found_dead, 0: RuntimeError("Connection closed by peer")}
    )


@pytest.mark.parametrize("failure", [OutOfMemoryError(LOW), died(LOW)])
def test_a_host_without_memory_is_named_and_what_to_do(failure: BaseException) -> None:
    assert deaths(group_error(failure)) == {1: NO_MEMORY}
    assert end_of_actor(failure, "gone") == NO_MEMORY
    assert "fewer workers" in NO_MEMORY


def test_a_death_that_nobody_knows_the_cause_of_is_told_without_rays_guesses() -> None:
    (cause,) = deaths(group_error(died(KILLED))).values()
    assert cause.startswith("the worker process died without a word")
    assert "SYSTEM_ERROR" not in cause


def test_the_end_of_what_watches_the_workers_is_told_from_an_error_of_its_own() -> None:
    assert end_of_gang(died(KILLED)).endswith("that watches the workers died")
    assert end_of_gang(ValueError("first\nsecond")) == "ValueError: first"


def test_only_processes_found_dead_are_deaths() -> None:
    assert deaths(None) == {}
    assert deaths(ValueError("boom")) == {}
