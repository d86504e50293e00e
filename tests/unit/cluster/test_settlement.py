"""Which changes of the sweep file and of the workload's code a results folder takes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from plan_samples import FACTS, spec, trials

from ddp_sweep.cluster.driver.settlement import refuse_other_code, settle_spec
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
    settle_spec(folder, spec())
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
        settle_spec(folder, spec(seeds=3))
    assert folder.spec_file.read_text() == "name: ["


def test_configurations_that_were_added_are_taken_where_that_is_asked_for(
    folder: ResultsFolder,
) -> None:
    more = spec(world_sizes=(1, 2, 4))

    with pytest.raises(SpecChangedError, match="--extend"):
        settle_spec(folder, more)
    settle_spec(folder, more, extend=True)

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
        settle_spec(folder, changed(**settings), extend=True)

    assert folder.spec_file.read_bytes() == before


def test_a_new_axis_at_the_value_that_held_before_is_an_extension(folder: ResultsFolder) -> None:
    axes = spec().to_mapping()["sweep"] | {"optimizer": ["sgd", "adamw"]}

    settle_spec(folder, changed(sweep=axes), extend=True)

    assert len(configuration_ids(changed(sweep=axes))) == 4


def test_a_confirmation_may_be_asked_for_later(folder: ResultsFolder) -> None:
    confirmed = changed(quality={"confirm_seeds": 5})

    settle_spec(folder, confirmed)

    assert folder.read().spec == confirmed.to_mapping()


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
    settle_spec(folder, swept(0.1, 0.2))
    write(folder, "commit:old", attempt=1)

    settle_spec(folder, swept(0.05, 0.1, 0.2), extend=True)

    with pytest.raises(SpecChangedError, match=r"training.learning_rate"):
        settle_spec(folder, swept(0.3, 0.2), extend=True)
