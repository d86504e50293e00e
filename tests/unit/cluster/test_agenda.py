"""What a run adds to a results folder: fresh seeds, failed trials, a confirmation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML
from trials_frame import START, Cell, rows, write_folder

from ddp_sweep.analysis import Ranking, RecommendationStatus, rank
from ddp_sweep.analysis.settings import torchrun_line
from ddp_sweep.cluster.driver.agenda import (
    Additions,
    add_confirmation,
    idle_because,
    require_results,
)
from ddp_sweep.cluster.driver.ledger import Ledger
from ddp_sweep.cluster.driver.seed_additions import SeedBook, confirmation
from ddp_sweep.cluster.driver.winner import write_winner
from ddp_sweep.errors import MoreSeedsError, ResultsError
from ddp_sweep.plan import Plan, Trial, build_plan, configuration_ids
from ddp_sweep.results import ResultsFolder, SeedAddition, SeedPurpose, load_results
from ddp_sweep.spec import SweepSpec, parse_spec

RESUME = "ddp-sweep run my.yaml"
SECONDS = {1: 10.0, 2: 6.0, 4: 4.0}


def sweep(*, margin: float = 0.05, seeds: int = 5) -> SweepSpec:
    return parse_spec(
        {
            "name": "digits",
            "workload": "some.module:Workload",
            "sweep": {"world_size": [1, 2, 4], "global_batch_size": [64]},
            "seeds": seeds,
            "training": {"epochs": 8, "learning_rate": 0.05},
            "quality": {"margins": {"accuracy": margin}},
        }
    )


def finished(
    trials: Iterable[Trial], accuracy: dict[int, float] | None = None, **columns: object
) -> list[dict[str, Any]]:
    """Rows of trials that ended well, larger world sizes sooner."""
    found = []
    for trial in trials:
        cell = Cell(
            world_size=trial.world_size,
            batch=trial.per_worker_batch_size,
            seconds=SECONDS[trial.world_size],
            accuracy=(accuracy or {}).get(trial.world_size, 0.95),
            spread=0.02,
        )
        row = rows([cell], seeds=trial.seed + 1)[-1]
        ids = {"trial_id": trial.trial_id, "configuration_id": trial.configuration_id}
        found.append(row | ids | columns)
    return found


def planned(spec: SweepSpec, book: SeedBook | None = None) -> Plan:
    more = () if book is None else book.added
    return build_plan(spec, capacity=None, train_lengths=1437, more_seeds=more)


def folder_of(
    path: Path, spec: SweepSpec, records: list[dict[str, Any]]
) -> tuple[ResultsFolder, SeedBook]:
    folder = write_folder(path, records)
    folder.spec_file.write_text(spec.to_yaml())
    return folder, SeedBook(folder.read(), spec, "now")


def look(
    folder: ResultsFolder, spec: SweepSpec, book: SeedBook, confirm_seeds: int = 0, **asked: object
) -> str | None:
    return idle_because(
        folder,
        Additions(**asked),  # type: ignore[arg-type]
        book,
        lambda: planned(spec, book),
        confirm_seeds=confirm_seeds,
        resume_command=RESUME,
    )


def pairs(trials: Iterable[Trial]) -> set[tuple[int, int]]:
    return {(trial.world_size, trial.seed) for trial in trials}


def test_fresh_seeds_for_all_are_blocks_after_those_of_the_sweep_file(tmp_path: Path) -> None:
    spec = sweep()
    folder, book = folder_of(tmp_path, spec, finished(planned(spec).trials))

    assert look(folder, spec, book, more_seeds=2) is None

    plan = planned(spec, book)
    assert pairs(plan.trials[15:]) == {(size, seed) for size in (1, 2, 4) for seed in (5, 6)}
    assert [trial.block for trial in plan.trials[15:]] == [5] * 3 + [6] * 3
    assert plan.trials[:15] == planned(spec).trials
    first, more = load_results(tmp_path).additions
    assert (first.purpose, first.seeds) == (SeedPurpose.SWEEP, tuple(range(5)))
    assert (more.purpose, more.seeds, more.session_id) == (SeedPurpose.MORE_SEEDS, (5, 6), "now")


def test_fresh_seeds_for_the_undecided_come_with_the_reference(tmp_path: Path) -> None:
    spec = sweep(margin=0.012)
    records = finished(planned(spec).trials, accuracy={4: 0.5})
    for row in records:  # as good on average, but nobody can tell yet
        if row["world_size"] == 2:
            row["accuracy"] += [0.02, -0.03, 0.01, -0.02, 0.02][row["seed"]]
    folder, book = folder_of(tmp_path, spec, records)
    verdicts = {e.world_size: e.verdict for e in rank(tmp_path).configurations}
    assert (verdicts[2], verdicts[4]) == ("inconclusive", "inferior"), "the test's own premise"

    assert look(folder, spec, book, more_seeds=1, only="undecided") is None

    assert pairs(planned(spec, book).trials[15:]) == {(1, 5), (2, 5)}


def test_nothing_is_added_where_nothing_is_undecided(tmp_path: Path) -> None:
    spec = sweep(margin=0.5)
    folder, book = folder_of(tmp_path, spec, finished(planned(spec).trials))

    said = look(folder, spec, book, more_seeds=3, only="undecided")

    assert said is not None
    assert "No configuration is undecided" in said
    assert len(book.additions) == 1


def test_no_seeds_go_to_what_fresh_seeds_have_refuted(tmp_path: Path) -> None:
    """It stays as it is however many more it gets."""
    spec = sweep(margin=0.5)
    folder, book = folder_of(tmp_path, spec, finished(planned(spec).trials))
    assert look(folder, spec, book, confirm_seeds=3) is None
    confirming = [trial for trial in planned(spec, book).trials if trial.seed > 4]
    write_folder(tmp_path, finished(confirming, train_time_s=10.0))
    entry = next(e for e in rank(tmp_path).configurations if e.world_size == 4)
    assert entry.verdict == "inconclusive", "the test's own premise"

    said = look(folder, spec, book, more_seeds=5, only="undecided")

    assert said is not None
    assert "No configuration is undecided" in said


def test_seeds_are_added_to_results_and_only_once_the_ones_before_are_done(tmp_path: Path) -> None:
    spec = sweep()
    folder, book = folder_of(tmp_path / "new", spec, [])
    with pytest.raises(MoreSeedsError, match="holds no results yet"):
        look(folder, spec, book, more_seeds=2)

    folder, book = folder_of(tmp_path / "begun", spec, finished(planned(spec).trials[:-2]))
    with pytest.raises(MoreSeedsError, match=rf"2 trials .* first: {RESUME}"):
        look(folder, spec, book, more_seeds=2)
    assert len(book.additions) == 1


def test_what_is_done_is_not_run_again(tmp_path: Path) -> None:
    spec = sweep()
    trials = planned(spec).trials
    folder, book = folder_of(tmp_path, spec, finished(trials))
    said = look(folder, spec, book)
    assert said is not None
    assert said.startswith("All 15 trials were done")
    assert look(folder, spec, book, only="failed") == "No trial has failed; nothing ran"


def test_seeds_for_all_pass_over_what_cannot_run_and_what_is_added_later(tmp_path: Path) -> None:
    spec = sweep()
    rows_ = [
        row | ({"status": "infeasible"} if row["world_size"] == 4 else {})
        for row in finished(planned(spec).trials)
    ]
    folder, book = folder_of(tmp_path, spec, rows_)

    assert look(folder, spec, book, more_seeds=1) is None

    axes = {"world_size": [1, 2, 3, 4], "global_batch_size": [12, 64]}
    wider = parse_spec(spec.to_mapping() | {"sweep": axes})
    later = planned(wider, book).trials
    assert pairs(t for t in later if t.seed > 4) == {(1, 5), (2, 5)}
    assert pairs(t for t in later if t.seed < 5) == {
        (w, s) for w in (1, 2, 3, 4) for s in range(5)
    }


def test_a_seed_that_has_run_is_not_fresh_though_its_record_is_lost(tmp_path: Path) -> None:
    spec = sweep()
    folder, book = folder_of(tmp_path, spec, finished(planned(spec).trials))
    look(folder, spec, book, more_seeds=3)
    write_folder(tmp_path, finished(planned(spec, book).trials[15:]))
    folder.seeds_file.unlink()

    assert SeedBook(folder.read(), spec, "later").fresh(2) == (8, 9)


def test_no_number_of_seeds_decides_where_nothing_is_asked_of_quality(tmp_path: Path) -> None:
    spec = parse_spec(sweep().to_mapping() | {"quality": {}})
    folder, book = folder_of(tmp_path, spec, finished(planned(spec).trials))
    with pytest.raises(MoreSeedsError, match=r"neither quality\.margins nor quality\.floors"):
        look(folder, spec, book, more_seeds=2, only="undecided")
    assert len(book.additions) == 1


def test_a_trial_that_was_lost_for_good_does_not_keep_seeds_out(tmp_path: Path) -> None:
    spec = sweep()
    trials = planned(spec).trials
    lost = finished(trials[:1], status="worker_died")
    folder, book = folder_of(tmp_path, spec, lost + finished(trials[1:]))
    assert look(folder, spec, book, more_seeds=2) is None
    assert book.added[0].seeds == (5, 6)

    cut = finished(trials[1:2], status="interrupted")
    folder, book = folder_of(tmp_path / "cut", spec, lost + cut + finished(trials[2:]))
    with pytest.raises(MoreSeedsError, match="1 trials"):
        look(folder, spec, book, more_seeds=2)


def test_a_folder_without_results_is_not_even_made(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "none")
    require_results(folder, Additions(), RESUME)
    for asked in (Additions(more_seeds=1), Additions(only="failed")):
        with pytest.raises(MoreSeedsError, match=f"run the sweep first.*{RESUME}"):
            require_results(folder, asked, RESUME)


def test_a_confirmation_alone_never_leads_to_another_one(tmp_path: Path) -> None:
    spec = sweep(margin=0.5)
    folder, book = folder_of(tmp_path, spec, finished(planned(spec).trials))
    of = {trial.world_size: trial.configuration_id for trial in planned(spec).trials}
    other = SeedAddition(
        purpose=SeedPurpose.CONFIRMATION, seeds=(5, 6), configuration_ids=(of[1], of[2])
    )
    book.add(other)
    confirmed = [t for t in planned(spec, book).trials if t.seed in (5, 6)]
    write_folder(tmp_path, finished(confirmed))
    ranking = rank(tmp_path)
    fastest = ranking.recommendation.fastest
    assert fastest is None or fastest.world_size == 4, "the test's own premise"

    assert confirmation(provisional(ranking, 4), folder.read(), (7,)) is None

    late = finished(planned(spec).trials[:1], finished_at=START + timedelta(days=1), attempt=2)
    write_folder(tmp_path, late)
    due = confirmation(provisional(ranking, 4), folder.read(), (7,))
    assert due is not None
    assert due.configuration_ids == (of[4], of[1])


def test_after_a_refuted_winner_the_next_one_is_confirmed_once_there_are_more_seeds(
    tmp_path: Path,
) -> None:
    spec = sweep(margin=0.05)
    folder, book = folder_of(tmp_path, spec, finished(planned(spec).trials))
    assert look(folder, spec, book, confirm_seeds=3) is None
    confirming = [trial for trial in planned(spec, book).trials if trial.seed > 4]
    write_folder(tmp_path, finished(confirming, accuracy={4: 0.5}))
    chosen = rank(tmp_path).recommendation
    assert chosen.status is RecommendationStatus.NONE, "the test's own premise"
    assert chosen.next_candidate is not None
    assert chosen.next_candidate.world_size == 2, "the test's own premise"

    said = look(folder, spec, book, confirm_seeds=3)

    assert said is not None
    assert "nothing ran" in said
    assert f"Next is {chosen.next_candidate.name}" in said
    assert "--more-seeds 3" in said

    assert look(folder, spec, book, more_seeds=3, confirm_seeds=3) is None
    more = [trial for trial in planned(spec, book).trials if trial.seed > 7]
    write_folder(tmp_path, finished(more, finished_at=START + timedelta(days=1)))
    assert add_confirmation(folder, book, 3).due
    second = [trial for trial in planned(spec, book).trials if trial.seed > 10]
    assert pairs(second) == {(size, seed) for size in (1, 2) for seed in (11, 12, 13)}


def test_failed_trials_run_anew_only_where_that_is_asked_for(tmp_path: Path) -> None:
    spec = sweep()
    trials = planned(spec).trials
    failed = finished(trials[:1], status="workload_error") + finished(trials[1:])
    folder, book = folder_of(tmp_path, spec, failed)
    assert look(folder, spec, book) is not None
    assert look(folder, spec, book, only="failed") is None
    assert Ledger(folder.read(), only_failed=True).pending(trials) == trials[:1]

    unfinished = trials[:1]
    folder, book = folder_of(tmp_path / "unfinished", spec, finished(trials[1:]))
    assert look(folder, spec, book, only="failed") == "No trial has failed; nothing ran"
    assert Ledger(folder.read()).pending(trials) == unfinished


def provisional(ranking: Ranking, world_size: int) -> Ranking:
    """The same ranking with another choice."""
    chosen = replace(
        ranking.recommendation,
        status=RecommendationStatus.PROVISIONAL,
        fastest=next(e for e in ranking.configurations if e.world_size == world_size),
    )
    return replace(ranking, recommendation=chosen)


def test_a_winner_is_confirmed_once_with_what_it_is_compared_with(tmp_path: Path) -> None:
    spec = sweep(margin=0.5)
    folder, book = folder_of(tmp_path, spec, finished(planned(spec).trials))

    assert look(folder, spec, book, confirm_seeds=3) is None
    assert pairs(planned(spec, book).trials[15:]) == {
        (size, seed) for size in (1, 4) for seed in (5, 6, 7)
    }
    assert book.additions[-1].purpose is SeedPurpose.CONFIRMATION
    assert not add_confirmation(folder, book, 3).due


def test_a_baseline_that_nothing_beats_needs_no_confirmation(tmp_path: Path) -> None:
    spec = sweep(margin=0.5)
    records = [
        row | {"train_time_s": 10.0 + row["seed"]} for row in finished(planned(spec).trials)
    ]  # type: ignore[operator]
    folder, book = folder_of(tmp_path, spec, records)
    found = add_confirmation(folder, book, 3)
    assert not found.due
    assert found.said is not None
    assert "nothing to confirm" in found.said
    assert book.added == ()


def test_a_record_of_seeds_that_cannot_be_read_stops_the_run(tmp_path: Path) -> None:
    spec = sweep()
    folder, _ = folder_of(tmp_path, spec, finished(planned(spec).trials))
    folder.seeds_file.write_text("- [")
    with pytest.raises(ResultsError, match=r"_seeds\.yaml cannot be read"):
        SeedBook(folder.read(), spec, "now")


def test_the_winner_is_written_down_and_taken_away(tmp_path: Path) -> None:
    spec = sweep(margin=0.5)
    folder, _ = folder_of(tmp_path, spec, finished(planned(spec).trials))
    ranking = rank(tmp_path)

    write_winner(folder, ranking)

    winner = YAML(typ="safe", pure=True).load(folder.winner_file.read_text())
    assert winner["status"] == "provisional"
    assert winner["settings"] == {
        "world_size": 4,
        "per_worker_batch_size": 16,
        "accumulation_steps": 1,
        "global_batch_size": 64,
        "learning_rate": 0.05,
        "torchrun": "torchrun --standalone --nproc-per-node 4 train.py",
    }
    assert winner["settings"] == ranking.recommendation.settings
    assert winner["unscaled_learning_rate"] == 0.05
    assert winner["speedup_low"] < winner["speedup"] < winner["speedup_high"]
    undone = replace(ranking.recommendation, status=RecommendationStatus.NONE)
    for outdated in (None, replace(ranking, recommendation=undone)):
        write_winner(folder, ranking)
        write_winner(folder, outdated)
        assert not folder.winner_file.exists()


def test_the_settings_for_a_sweep_file_are_those_of_the_winner_and_of_no_other(
    tmp_path: Path,
) -> None:
    settings = sweep(margin=0.5).to_mapping()
    settings["sweep"] |= {"optimizer": ["adamw"], "workload_options.text": ["yes: no # {", 3]}
    settings["training"] |= {"reference_batch_size": 32, "ddp": {"bucket_cap_mb": 1.0}}
    settings["data"] = {"loader_workers": 0}
    settings["resources"] = {"device": "cpu", "cpus_per_worker": 2}
    settings["quality"] |= {"decision_threshold": 0.25}
    spec = parse_spec(settings)
    records = []
    for trial in planned(spec).trials:
        [row] = finished([trial], parameters=json.dumps(trial.parameters))
        faster = 0.5 if trial.workload_options["text"] != 3 else 1.0
        records.append(row | {"train_time_s": row["train_time_s"] * faster})
    folder, _ = folder_of(tmp_path, spec, records)

    write_winner(folder, rank(tmp_path))

    winner = YAML(typ="safe", pure=True).load(folder.winner_file.read_text(encoding="utf-8"))
    alone = parse_spec({"name": "again", **winner["sweep_file"]})
    assert configuration_ids(alone) == {winner["configuration_id"]}
    assert winner["sweep_file"]["workload_options"] == {"text": "yes: no # {"}
    assert winner["settings"]["world_size"] == 4


@pytest.mark.parametrize(
    ("workers", "nodes", "line"),
    [
        (1, 1, "torchrun --standalone --nproc-per-node 1 train.py"),
        (8, None, "torchrun --standalone --nproc-per-node 8 train.py"),
        (8, 2, "torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d "
               "--rdzv-endpoint FIRST_HOST:29500 train.py"),
        (7, 2, None),
    ],
)  # fmt: skip
def test_a_torchrun_line_starts_exactly_as_many_workers(
    workers: int, nodes: int | None, line: str | None
) -> None:
    table = pd.DataFrame({"world_size": [workers], "global_batch_size": 64, "train_time_s": 1.0})
    if nodes is not None:
        table = table.assign(num_nodes=nodes)

    assert torchrun_line(rank(table).configurations[0]) == line
