"""What one run of a sweep does in which order; no cluster, no workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plan_samples import FACTS, request, spec, trials

from ddp_sweep.cluster.connection.capacity import ClusterConnection
from ddp_sweep.cluster.connection.growth import Growth, NodeResources, NodeType
from ddp_sweep.cluster.driver.agenda import Confirmation
from ddp_sweep.cluster.driver.feed import Feed
from ddp_sweep.cluster.driver.ledger import Ledger
from ddp_sweep.cluster.driver.session import Session
from ddp_sweep.cluster.gang.shelf import CheckpointShelf
from ddp_sweep.cluster.lane.schedule import Schedule
from ddp_sweep.errors import CapacityError
from ddp_sweep.live import Notice
from ddp_sweep.live.lines import PlainLines
from ddp_sweep.live.record import read_record
from ddp_sweep.plan import Plan, Trial, build_plan
from ddp_sweep.reporter import AttemptResult, Reporter
from ddp_sweep.results import ResultsFolder, SeedAddition, SeedPurpose, load_results
from ddp_sweep.schema import Status
from ddp_sweep.training.worker import Worker

CONFIRMATION = SeedAddition(
    purpose=SeedPurpose.CONFIRMATION,
    seeds=(7, 8),
    configuration_ids=(trials()[0].configuration_id,),
)


@dataclass
class Rehearsal(Session):
    """A session whose trials end as they are told to, at once."""

    ends: dict[str, Status] = field(default_factory=dict)
    """By trial_id; what is not named succeeds."""
    interrupt: bool = False
    stopping_at_the_end: bool = False
    """Whether Ctrl-C is pressed while the last trial runs."""
    drives: list[tuple[Trial, ...]] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    room: int | None = None
    """Workers that really can be had; None for as many as the cluster is said to hold."""

    def _drive(
        self,
        schedule: Schedule,
        pending: tuple[Trial, ...],
        cluster: ClusterConnection,
    ) -> bool:
        if self.room is not None and cluster.capacity > self.room:
            raise CapacityError("the workers could not be started: 2 nodes did not come")
        self.drives.append(pending)
        self.widths.append(schedule.side_by_side)
        for trial in pending[:-1] if self.interrupt else pending:
            end(self.reporter, trial, self.ends.get(trial.trial_id, Status.SUCCEEDED))
        self.stopping = self.interrupt or self.stopping_at_the_end
        return self.interrupt


def end(reporter: Reporter, trial: Trial, status: Status) -> None:
    known = load_results(reporter.folder.path).trials
    attempt = 1 + int((known["trial_id"] == trial.trial_id).sum())
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    reporter.commit(AttemptResult(trial=trial, attempt=attempt, status=status, finished_at=noon))


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Rehearsal]:
    """It asks for a confirmation each time that it may."""
    added: list[SeedAddition] = []

    def plan_for(capacity: int | None) -> Plan:
        return build_plan(spec(), capacity=capacity, train_lengths=512, more_seeds=added)

    def confirm() -> Confirmation:
        added.append(CONFIRMATION)
        return Confirmation(due=True, said="measuring it anew")

    folder = ResultsFolder(tmp_path)
    with Feed(PlainLines(), folder, resume_command="the same") as feed:
        yield Rehearsal(
            spec=spec(),
            folder=folder,
            reporter=Reporter(folder, FACTS),
            plan_for=plan_for,
            worker_factory=Worker,
            feed=feed,
            confirm=confirm,
        )


def run(session: Rehearsal) -> bool:
    return session._run_on(ClusterConnection(capacity=2, device_type="cpu", nodes=()))


def test_a_confirmation_runs_after_the_sweep_in_the_same_session(
    session: Rehearsal, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not run(session)

    swept, confirmed = session.drives
    assert swept == trials()
    assert {(t.configuration_id, t.seed) for t in confirmed} == {
        (trials()[0].configuration_id, seed) for seed in (7, 8)
    }
    assert [trial.block for trial in confirmed] == [2, 3]
    assert "measuring it anew" in capsys.readouterr().err
    assert session.plan is not None
    assert len(session.plan.trials) == len(trials()) + 2


def test_a_run_that_gives_up_says_that_it_has_ended(
    session: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else ``status`` would take it for one that was killed."""

    @contextmanager
    def connected(*_: object) -> Iterator[ClusterConnection]:
        yield ClusterConnection(capacity=2, device_type="cpu", nodes=())

    def without_workers(*_: object) -> bool:
        raise CapacityError("the workers could not be started")

    monkeypatch.setattr("ddp_sweep.cluster.driver.session.connect", connected)
    monkeypatch.setattr(session, "_drive", without_workers)
    with pytest.raises(CapacityError):
        session.run(None)
    session.feed.tell_and_wait(Notice(text="all before this is written down"))
    record = read_record(session.folder)
    assert record is not None
    assert record.stage == "ended"


def test_what_was_interrupted_and_no_longer_fits_is_not_called_done(session: Rehearsal) -> None:
    large = next(trial for trial in trials() if trial.world_size == 2)
    end(session.reporter, large, Status.INTERRUPTED)
    session.confirm = Confirmation
    planned = session.plan_for
    session.plan_for = lambda _: build_plan(spec(), capacity=1, train_lengths=512)

    assert not session._run_on(ClusterConnection(capacity=1, device_type="cpu", nodes=()))

    rows = load_results(session.folder.path).trials.query("trial_id == @large.trial_id")
    assert rows.sort_values("attempt")["status"].tolist() == ["interrupted", "infeasible"]
    assert large in Ledger(session.folder.read()).pending(planned(2).trials)


def test_nothing_is_confirmed_where_the_sweep_was_interrupted(session: Rehearsal) -> None:
    session.interrupt = True
    assert run(session)
    assert len(session.drives) == 1


def test_ctrl_c_in_the_last_trial_leaves_a_due_confirmation_for_the_next_run(
    session: Rehearsal,
) -> None:
    session.stopping_at_the_end = True
    assert run(session), "interrupted: there is more to run"
    assert len(session.drives) == 1
    assert session.plan is not None and len(session.plan.trials) == len(trials()) + 2

    again = replace(session, drives=[], stopping_at_the_end=False, stopping=False)
    again.confirm = Confirmation
    assert not run(again)
    (pending,) = again.drives
    assert {trial.seed for trial in pending} == {7, 8}


def test_ctrl_c_in_the_last_trial_of_all_interrupts_nothing(session: Rehearsal) -> None:
    session.stopping_at_the_end = True
    session.confirm = Confirmation
    assert not run(session)


def test_a_trial_that_is_lost_for_good_keeps_no_confirmation_out(session: Rehearsal) -> None:
    session.ends = {trials()[1].trial_id: Status.WORKER_DIED}
    assert not run(session)
    assert [len(pending) for pending in session.drives] == [len(trials()), 2]


def test_only_failed_runs_what_did_not_succeed_and_nothing_else(session: Rehearsal) -> None:
    failed, done, _, never = trials()
    end(session.reporter, failed, Status.WORKLOAD_ERROR)
    end(session.reporter, done, Status.SUCCEEDED)
    session.only_failed = True
    assert not run(session)
    assert session.drives == [(failed,)]
    rows = load_results(session.folder.path).trials
    assert sorted(rows.loc[rows["trial_id"] == failed.trial_id, "attempt"]) == [1, 2]
    assert never.trial_id not in set(rows["trial_id"])


def test_packed_trials_run_in_waves_of_one_world_size(session: Rehearsal) -> None:
    planned = packed_session(session)
    assert not session._run_on(ClusterConnection(capacity=4, device_type="cpu", nodes=()))

    sizes = [{trial.world_size for trial in wave} for wave in session.drives]
    assert sizes == [{1}, {2}, {4}]
    # Of five trials each: never more than there are, nor than fit.
    assert session.widths == [4, 2, 1]
    assert [trial for wave in session.drives for trial in wave] == list(planned.trials)


def test_ctrl_c_in_a_wave_is_an_interruption_though_that_wave_has_ended(
    session: Rehearsal,
) -> None:
    packed_session(session)
    drive = session._drive

    def stopped(*arguments: Any) -> bool:
        drive(*arguments)
        session.stopping = True
        return False

    session._drive = stopped  # type: ignore[method-assign]
    assert session._run_on(ClusterConnection(capacity=4, device_type="cpu", nodes=()))
    assert len(session.drives) == 1


def packed_session(session: Rehearsal) -> Plan:
    session.spec = spec(seeds=5, world_sizes=(1, 2, 4), resources={"placement": "packed"})
    session.confirm = Confirmation

    def plan_for(capacity: int | None) -> Plan:
        return build_plan(session.spec, capacity=capacity, train_lengths=512)

    session.plan_for = plan_for
    return plan_for(4)


GROWING = Growth(types=(NodeType(name="w", cpus=1, gpus=0, most=8),), most_nodes=8)


@pytest.mark.parametrize(("there", "goes_on"), [(1, True), (0, False), (2, False)])
def test_a_cluster_that_does_not_grow_runs_what_it_holds(
    session: Rehearsal, monkeypatch: pytest.MonkeyPatch, there: int, goes_on: bool
) -> None:
    """Said to become two workers; with two there, the nodes are not what is missing."""
    session.confirm = Confirmation
    session.room = 1
    nodes = (NodeResources(cpus=1, gpus=0),) * there
    monkeypatch.setattr("ddp_sweep.cluster.driver.session.alive_nodes", lambda: nodes)
    cluster = ClusterConnection(capacity=2, device_type="cpu", nodes=(), growth=GROWING)
    if not goes_on:
        with pytest.raises(CapacityError, match="2 nodes did not come"):
            session._run_on(cluster)
        return
    assert not session._run_on(cluster)
    rows = load_results(session.folder.path).trials
    assert dict(zip(rows["world_size"], rows["status"], strict=True)) == {
        1: "succeeded",
        2: "infeasible",
    }
    assert session.fell_short is not None and "2 nodes did not come" in session.fell_short


def test_checkpoints_stay_for_those_only_that_will_run_again(session: Rehearsal) -> None:
    succeeded, diverged, lost, never = trials()
    for trial, status in (
        (succeeded, Status.SUCCEEDED),
        (diverged, Status.DIVERGED),
        (lost, Status.WORKER_DIED),
    ):
        end(session.reporter, trial, status)
    shelf = CheckpointShelf(session.folder, FACTS.code_version)
    for trial in trials():
        shelf.write(request(trial), 40, [np.zeros(8, np.uint8)] * trial.world_size)
    session.interrupt = True
    run(session)
    assert set(shelf.trials()) == {lost.trial_id, never.trial_id}
