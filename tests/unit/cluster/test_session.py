"""What one run of a sweep does in which order; no cluster, no workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from plan_samples import FACTS, spec, trials

from ddp_sweep.cluster.connection.capacity import ClusterConnection
from ddp_sweep.cluster.driver.agenda import Confirmation
from ddp_sweep.cluster.driver.feed import Feed
from ddp_sweep.cluster.driver.ledger import Ledger
from ddp_sweep.cluster.driver.session import Session
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

    def _drive(
        self,
        schedule: Schedule,  # noqa: ARG002
        pending: tuple[Trial, ...],
        cluster: ClusterConnection,  # noqa: ARG002
    ) -> bool:
        self.drives.append(pending)
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
