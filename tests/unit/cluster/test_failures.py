from __future__ import annotations

import pytest

from ddp_sweep.cluster.gang.failures import Evidence, judge, not_started
from ddp_sweep.schema import AFTER_OTHERS, STALLED, Status, is_transient
from ddp_sweep.training.messages import RankFailure


def failed(rank: int, status: Status, detail: str = "what it said") -> RankFailure:
    return RankFailure(rank=rank, status=status, detail=detail)


LOST_PEERS = failed(0, Status.WORKER_DIED, "Connection closed by peer")


def test_a_silent_death_explains_what_its_peers_report() -> None:
    failure = judge(Evidence(failures=(LOST_PEERS,), deaths={1: "was killed"}))
    assert (failure.status, failure.rank) == (Status.WORKER_DIED, 1)
    assert failure.detail == "rank 1: was killed"


def test_an_exception_of_a_ranks_own_explains_lost_connections_that_came_in_first() -> None:
    own = failed(2, Status.WORKLOAD_ERROR, "ValueError: boom")
    failure = judge(Evidence(failures=(LOST_PEERS, own)))
    assert (failure.status, failure.rank) == (Status.WORKLOAD_ERROR, 2)
    assert "ValueError: boom" in failure.detail


def test_the_first_of_several_exceptions_counts() -> None:
    first, second = failed(1, Status.OUT_OF_MEMORY), failed(0, Status.WORKLOAD_ERROR)
    assert judge(Evidence(failures=(first, second))).status == Status.OUT_OF_MEMORY


def test_a_rank_that_said_why_is_not_taken_for_a_death() -> None:
    own = failed(1, Status.OUT_OF_MEMORY)
    failure = judge(Evidence(failures=(own,), deaths={1: "exited"}))
    assert failure.status == Status.OUT_OF_MEMORY


def test_a_lost_node_explains_everything_else() -> None:
    evidence = Evidence(failures=(LOST_PEERS,), deaths={1: "gone"}, lost_nodes={1: "node-b"})
    failure = judge(evidence)
    assert (failure.status, failure.rank) == (Status.NODE_LOST, 1)
    assert "node-b" in failure.detail


def test_silence_is_a_time_out_that_says_what_was_seen_last() -> None:
    failure = judge(Evidence(silent_s=600.0, last_progress={"optimizer_step": 12}))
    assert failure.status == Status.TIMED_OUT
    assert failure.detail.startswith(STALLED)
    assert "600 s" in failure.detail
    assert "step 12" in failure.detail


def test_an_end_of_the_whole_group_is_a_death() -> None:
    assert judge(Evidence(gang_error="ControllerError: lost")).detail == "ControllerError: lost"
    assert judge(Evidence()).status == Status.WORKER_DIED


@pytest.mark.parametrize(
    ("status", "detail", "again"),
    [
        (Status.WORKER_DIED, None, True),
        (Status.NODE_LOST, "x", True),
        (Status.TIMED_OUT, f"{STALLED}no progress for 9 s", True),
        (Status.TIMED_OUT, "over trial_timeout_s", False),
        (Status.TIMED_OUT, None, False),
        (Status.WORKLOAD_ERROR, "x", False),
        (Status.OUT_OF_MEMORY, "x", False),
        (Status.OUT_OF_MEMORY, f"{AFTER_OTHERS}x", True),
        (Status.DIVERGED, "x", False),
        (Status.SUCCEEDED, None, False),
    ],
)
def test_only_causes_outside_the_trial_are_worth_another_attempt(
    status: Status, detail: str | None, again: bool
) -> None:
    assert is_transient(status, detail) is again


def test_workers_that_do_not_start_are_tried_again_and_say_where_to_look() -> None:
    failure = not_started(600.0)
    assert is_transient(failure.status, failure.detail)
    assert "600 s" in failure.detail
    assert "start_timeout_s" in failure.detail
