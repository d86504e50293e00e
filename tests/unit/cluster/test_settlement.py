"""Which changes of the sweep file and of the workload's code a results folder takes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from plan_samples import FACTS, spec, trials

from ddp_sweep.cluster.driver.attempts import Attempts
from ddp_sweep.cluster.driver.settlement import refuse_other_code, settle_spec
from ddp_sweep.cluster.driver.sweep import run_sweep
from ddp_sweep.errors import ResultsError, SpecChangedError
from ddp_sweep.plan import configuration_ids
from ddp_sweep.reporter import AttemptResult, Reporter
from ddp_sweep.results import ResultsFolder
from ddp_sweep.schema import Status
from ddp_sweep.spec import SweepSpec, parse_spec

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    folder = ResultsFolder(tmp_path)
    settle_spec(folder.read(("trials",)), spec())
    write(folder, "commit:old", attempt=1)
    return folder


def write(folder: ResultsFolder, code_version: str, *, attempt: int) -> None:
    ended = AttemptResult(
        trial=trials()[0],
        attempt=attempt,
        status=Status.SUCCEEDED,
        finished_at=NOON + timedelta(minutes=attempt),
    )
    Reporter(folder, replace(FACTS, code_version=code_version)).commit(ended)


def changed(**settings: object) -> SweepSpec:
    return parse_spec({**spec().to_mapping(), **settings})


def test_a_sweep_file_that_cannot_be_read_is_not_replaced_by_another(
    folder: ResultsFolder,
) -> None:
    folder.spec_file.write_text("name: [")
    with pytest.raises(ResultsError, match=r"_sweep\.yaml cannot be read"):
        settle_spec(folder.read(("trials",)), spec(seeds=3))
    assert folder.spec_file.read_text() == "name: ["


def test_configurations_that_were_added_are_taken_where_that_is_asked_for(
    folder: ResultsFolder,
) -> None:
    more = spec(world_sizes=(1, 2, 4))

    with pytest.raises(SpecChangedError, match="--extend"):
        settle_spec(folder.read(("trials",)), more)
    settle_spec(folder.read(("trials",)), more, extend=True)

    assert folder.read().spec == more.to_mapping()
    assert configuration_ids(spec()) < configuration_ids(more)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sweep": {"world_size": [2, 4], "per_worker_batch_size": [4]}}, "must have stayed"),
        ({"seeds": 3}, "--more-seeds"),
        ({"training": {"epochs": 2, "learning_rate": 0.1}}, "training.epochs: 1.0 there, 2.0 now"),
    ],
)
def test_an_extension_takes_nothing_away_and_changes_nothing_else(
    folder: ResultsFolder, settings: dict[str, object], words: str
) -> None:
    before = folder.spec_file.read_bytes()

    with pytest.raises(SpecChangedError, match=words):
        settle_spec(folder.read(("trials",)), changed(**settings), extend=True)

    assert folder.spec_file.read_bytes() == before


def test_a_new_axis_at_the_value_that_held_before_is_an_extension(folder: ResultsFolder) -> None:
    axes = spec().to_mapping()["sweep"] | {"optimizer": ["sgd", "adamw"]}

    settle_spec(folder.read(("trials",)), changed(sweep=axes), extend=True)

    assert len(configuration_ids(changed(sweep=axes))) == 4


def test_a_confirmation_may_be_asked_for_later(folder: ResultsFolder) -> None:
    confirmed = changed(quality={"confirm_seeds": 5})

    settle_spec(folder.read(("trials",)), confirmed)

    assert folder.read().spec == confirmed.to_mapping()


@pytest.mark.parametrize(
    "settings", [{"stall_timeout_s": 900}, {"start_timeout_s": 900}, {"max_attempts": 5}]
)
def test_what_the_message_of_a_failed_trial_advises_to_raise_may_be_raised(
    folder: ResultsFolder, settings: dict[str, float]
) -> None:
    raised = changed(resources=settings)

    settle_spec(folder.read(("trials",)), raised)

    assert folder.read().spec == raised.to_mapping()


def test_a_longer_time_for_a_trial_changes_what_counts_as_a_failure(folder: ResultsFolder) -> None:
    with pytest.raises(SpecChangedError, match=r"resources\.trial_timeout_s"):
        settle_spec(folder.read(("trials",)), changed(resources={"trial_timeout_s": 900}))


@pytest.mark.parametrize("has_a_row", [True, False])
def test_a_run_that_is_refused_has_touched_nothing(tmp_path: Path, has_a_row: bool) -> None:
    folder = ResultsFolder(tmp_path)
    settle_spec(folder.read(("trials",)), spec())
    if has_a_row:
        write(folder, "commit:old", attempt=1)
    Attempts(folder, Reporter(folder, FACTS)).begin(trials()[1], 1)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    other = changed(workload="ddp_sweep.workloads.digits:Digits")

    with pytest.raises(SpecChangedError):
        run_sweep(other, output=tmp_path, progress="none")

    after = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    after.pop(folder.lock_file, None)
    assert after == before


def test_changed_code_is_refused_until_it_is_accepted_once(folder: ResultsFolder) -> None:
    with pytest.raises(SpecChangedError, match=r"hash old there, new now.*--accept-code-change"):
        refuse_other_code(folder.read(), "other:new")
    refuse_other_code(folder.read(), "other:new", accept=True)
    write(folder, "other:new", attempt=2)

    refuse_other_code(folder.read(), "third:new")
    with pytest.raises(SpecChangedError, match="hash new there, old now"):
        refuse_other_code(folder.read(), "commit:old")


def test_a_rate_that_is_put_first_in_the_list_is_an_extension(tmp_path: Path) -> None:
    def swept(*rates: float) -> SweepSpec:
        axes = spec().to_mapping()["sweep"] | {"learning_rate": list(rates)}
        training = {"epochs": 1, "reference_batch_size": 4}
        return changed(sweep=axes, training=training)

    folder = ResultsFolder(tmp_path)
    settle_spec(folder.read(("trials",)), swept(0.1, 0.2))
    write(folder, "commit:old", attempt=1)

    settle_spec(folder.read(("trials",)), swept(0.05, 0.1, 0.2), extend=True)

    with pytest.raises(SpecChangedError, match=r"training.learning_rate"):
        settle_spec(folder.read(("trials",)), swept(0.3, 0.2), extend=True)
