"""Seeds that were added after a look at the results, and seeds that confirm a choice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from trials_frame import Cell, find, frame, rows, trial

from ddp_sweep.analysis import Evidence, Ranking, RecommendationStatus, Verdict, rank
from ddp_sweep.analysis.statistics.looks import deciding_looks
from ddp_sweep.results import Results, ResultsFolder, SeedAddition, SeedPurpose

MARGINS = {"accuracy": 0.01}
ONE = Cell(world_size=1, batch=64, seconds=12)
TWO = Cell(world_size=2, batch=64, seconds=6)
FOUR = Cell(world_size=4, batch=64, seconds=4)
SWEEP = SeedAddition(purpose=SeedPurpose.SWEEP, seeds=tuple(range(5)))


def added(purpose: SeedPurpose, *seeds: int, only: tuple[Cell, ...] | None = None) -> SeedAddition:
    ids = None if only is None else tuple(cell.name for cell in only)
    return SeedAddition(purpose=purpose, seeds=seeds, configuration_ids=ids)


def runs(cells: list[Cell], seeds: range, session: str) -> list[dict[str, Any]]:
    noise = np.random.default_rng(seeds.start)
    found = [trial(cell, seed, seed, noise) for cell in cells for seed in seeds]
    return [record | {"session_id": session} for record in found]


def ranked(records: list[dict[str, Any]], *additions: SeedAddition, **options: Any) -> Ranking:
    results = Results(
        trials=frame(records),
        evals=pd.DataFrame(),
        steps=pd.DataFrame(),
        folder=ResultsFolder(Path("nowhere")),
        spec=None,
        additions=additions,
    )
    return rank(results, **({"margins": MARGINS} | options))


def accuracies(records: list[dict[str, Any]], cell: Cell) -> list[float]:
    own = [record for record in records if record["configuration_id"] == cell.name]
    return [record["accuracy"] for record in sorted(own, key=lambda record: record["seed"])]


UNDECIDED = replace(TWO, accuracy=0.942, spread=0.02)


def test_a_second_look_is_judged_on_its_fresh_seeds_at_half_the_level() -> None:
    first, fresh = rows([ONE, UNDECIDED]), runs([ONE, UNDECIDED], range(5, 13), "later")
    expected = stats.ttest_rel(accuracies(fresh, UNDECIDED), accuracies(fresh, ONE))

    entry = find(ranked(first + fresh, SWEEP, added(SeedPurpose.MORE_SEEDS, *range(5, 13))), 2)

    interval = expected.confidence_interval(0.95)
    found = entry.metrics["accuracy"]
    assert entry.look == 2
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    pooled = find(ranked(first + fresh), 2)
    assert pooled.look == 1
    assert pooled.metrics["accuracy"].low > found.low
    assert entry.n_seeds == 13
    assert entry.speedup == pytest.approx(pooled.speedup)  # speed rests on all runs


def test_the_seeds_that_are_advised_are_those_for_the_next_look() -> None:
    first, fresh = rows([ONE, UNDECIDED]), runs([ONE, UNDECIDED], range(5, 13), "later")
    more = added(SeedPurpose.MORE_SEEDS, *range(5, 13))
    both = first + fresh
    differences = np.subtract(accuracies(both, UNDECIDED), accuracies(both, ONE))
    sd = differences.std(ddof=1) * np.sqrt(12 / stats.chi2.ppf(0.4, 12))

    found = ranked(both, SWEEP, more, margins={"accuracy": 0.012})

    entry = find(found, 2)
    assert entry.verdict is Verdict.INCONCLUSIVE
    needed = entry.seeds_needed
    powers = [
        stats.nct.sf(stats.t.ppf(1 - 0.0125, n - 1), n - 1, 0.012 * np.sqrt(n) / sd)
        for n in (needed - 1, needed)
    ]
    assert powers[0] < 0.8 <= powers[1]


def test_what_is_decided_stays_so_where_it_got_no_fresh_seeds() -> None:
    first = rows([ONE, TWO, UNDECIDED_FOUR])
    alone = ranked(first, SWEEP)
    fresh = runs([ONE, UNDECIDED_FOUR], range(5, 10), "later")
    more = added(SeedPurpose.MORE_SEEDS, *range(5, 10), only=(ONE, UNDECIDED_FOUR))

    entry = find(ranked(first + fresh, SWEEP, more), 2)

    assert entry.verdict is Verdict.NON_INFERIOR
    assert entry.look == 1
    assert entry.metrics == find(alone, 2).metrics


UNDECIDED_FOUR = replace(FOUR, accuracy=0.942)


def test_fresh_seeds_that_show_a_loss_undo_an_earlier_verdict() -> None:
    worse = replace(TWO, accuracy=0.9)
    fresh = runs([ONE, worse], range(5, 10), "later")
    more = added(SeedPurpose.MORE_SEEDS, *range(5, 10))

    entry = find(ranked(rows([ONE, TWO]) + fresh, SWEEP, more), 2)

    assert (entry.verdict, entry.look) == (Verdict.INFERIOR, 2)


def test_a_loss_is_not_undone_by_trying_again() -> None:
    lost = replace(TWO, accuracy=0.9)
    fresh = runs([ONE, TWO], range(5, 10), "later")
    more = added(SeedPurpose.MORE_SEEDS, *range(5, 10))

    entry = find(ranked(rows([ONE, lost]) + fresh, SWEEP, more), 2)

    assert (entry.verdict, entry.look) == (Verdict.INFERIOR, 1)


HELD_LOST_UNKNOWN = (Verdict.NON_INFERIOR, Verdict.INFERIOR, Verdict.INCONCLUSIVE)
H, L, U = (verdict.value for verdict in HELD_LOST_UNKNOWN)


@pytest.mark.parametrize(
    ("verdicts", "judgeable", "deciding"),
    [
        ([U, H, U], [1, 1, 1], 1),
        ([H, U, U], [1, 1, 1], 0),
        ([U, U, U], [1, 1, 1], 2),
        ([U, U, U], [1, 1, 0], 1),
        ([H, U, L], [1, 1, 1], 2),
        ([L, H, H], [1, 1, 1], 0),
        ([U, H, L], [1, 1, 0], 1),
        ([U, U, U], [0, 0, 0], 0),
    ],
)
def test_the_look_that_decides(verdicts: list[str], judgeable: list[int], deciding: int) -> None:
    found = deciding_looks(
        np.array(verdicts)[:, None], np.array(judgeable, dtype=np.bool_)[:, None]
    )

    assert found.tolist() == [deciding]


CONFIRM = added(SeedPurpose.CONFIRMATION, *range(5, 15), only=(ONE, FOUR))


def test_fresh_seeds_confirm_the_winner_with_their_own_figures() -> None:
    first, fresh = rows([ONE, TWO, FOUR]), runs([ONE, FOUR], range(5, 15), "confirm")
    alone = rank(frame(fresh), margins=MARGINS)

    ranking = ranked(first + fresh, SWEEP, CONFIRM)

    recommendation, entry = ranking.recommendation, find(ranking, 4)
    assert recommendation.status is RecommendationStatus.CONFIRMED
    assert recommendation.fastest is entry
    expected = find(alone, 4)
    shown = (entry.speedup, entry.speedup_low, entry.speedup_high)
    assert shown == (expected.speedup, expected.speedup_low, expected.speedup_high)
    assert entry.metrics["accuracy"] == expected.metrics["accuracy"]
    assert "confirmed by fresh seeds" in recommendation.reason
    selected = find(rank(frame(first), margins=MARGINS), 4).speedup
    (finding,) = [f for f in entry.findings if f.kind == "confirmed_by_fresh_seeds"]
    assert finding.evidence == {"fresh_runs": 10, "selected_speedup": pytest.approx(selected)}


def test_the_baseline_may_run_afresh_with_the_winner() -> None:
    faster = replace(ONE, batch=128, seconds=10)
    first = rows([ONE, faster, FOUR])
    fresh = runs([ONE, replace(faster, seconds=11), FOUR], range(5, 15), "confirm")
    confirm = added(SeedPurpose.CONFIRMATION, *range(5, 15))

    together = ranked(first + fresh, SWEEP, confirm)
    own = [record for record in fresh if record["configuration_id"] != faster.name]
    without = ranked(first + own, SWEEP, confirm)

    for ranking, seconds in ((together, 11), (without, 10)):  # else its earlier runs are compared
        assert ranking.baseline.configuration_id == faster.name
        assert ranking.recommendation.status is RecommendationStatus.CONFIRMED
        assert find(ranking, 4).speedup == pytest.approx(seconds / 4, rel=0.03)


def test_fresh_seeds_have_no_part_in_the_choice() -> None:
    first = rows([ONE, TWO, FOUR])
    fresh = runs([ONE, replace(FOUR, seconds=8)], range(5, 15), "confirm")

    ranking = ranked(first + fresh, SWEEP, CONFIRM)

    # On fresh seeds it is slower than TWO; what was chosen is confirmed as what it is.
    assert ranking.recommendation.fastest.world_size == 4
    assert ranking.recommendation.fastest.speedup == pytest.approx(1.5, rel=0.05)
    assert find(ranking, 2).speedup == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize(
    ("accuracy", "seconds", "verdict"),
    [
        (0.9, 4, Verdict.INFERIOR),
        (0.94, 4, Verdict.INCONCLUSIVE),
        (0.95, 12.5, Verdict.INCONCLUSIVE),
    ],
)
def test_what_fresh_seeds_do_not_bear_out_is_not_recommended(
    accuracy: float, seconds: float, verdict: Verdict
) -> None:
    first = rows([ONE, TWO, FOUR])
    worse = replace(FOUR, accuracy=accuracy, seconds=seconds)
    fresh = runs([ONE, worse], range(5, 15), "confirm")

    ranking = ranked(first + fresh, SWEEP, CONFIRM)

    recommendation = ranking.recommendation
    assert (recommendation.status, recommendation.fastest) == (RecommendationStatus.NONE, None)
    assert recommendation.next_candidate is find(ranking, 2)
    assert "did not confirm 4 workers" in recommendation.reason
    assert "next: 2 workers" in recommendation.reason
    assert find(ranking, 4).verdict is verdict
    shown = Evidence.SEEDS if verdict is Verdict.INFERIOR else Evidence.NONE
    assert find(ranking, 4).evidence is shown
    assert find(ranking, 4) not in recommendation.pareto


def test_a_winner_that_does_not_finish_on_fresh_seeds_is_not_recommended() -> None:
    fresh = runs([ONE, FOUR], range(5, 10), "confirm")
    for record in fresh:
        if record["world_size"] == 4:
            record.update(status="out_of_memory", train_time_s=None, accuracy=None)

    ranking = ranked(rows([ONE, TWO, FOUR]) + fresh, SWEEP, CONFIRM)

    assert ranking.recommendation.status is RecommendationStatus.NONE
    assert find(ranking, 4).verdict is Verdict.FAILED
    assert find(ranking, 4).reason.startswith("did not finish: on fresh seeds, 5 of 5 ran out of")


def test_fresh_runs_that_were_lost_say_nothing() -> None:
    fresh = runs([ONE, FOUR], range(5, 10), "confirm")
    for record in fresh:
        record.update(status="interrupted", train_time_s=None, accuracy=None)

    ranking = ranked(rows([ONE, TWO, FOUR]) + fresh, SWEEP, CONFIRM)

    assert ranking.recommendation.status is RecommendationStatus.PROVISIONAL
    assert ranking.recommendation.fastest is find(ranking, 4)


def test_the_next_candidate_is_confirmed_at_half_the_level() -> None:
    first, worse = rows([ONE, TWO, FOUR]), replace(FOUR, accuracy=0.9)
    fresh = runs([ONE, worse], range(5, 15), "confirm")
    again = runs([ONE, replace(TWO, spread=0.01)], range(15, 25), "again")
    second = added(SeedPurpose.CONFIRMATION, *range(15, 25), only=(ONE, TWO))
    differences = stats.ttest_rel(accuracies(again, TWO), accuracies(again, ONE))

    ranking = ranked(first + fresh + again, SWEEP, CONFIRM, second)

    entry = find(ranking, 2)
    assert ranking.recommendation.status is RecommendationStatus.CONFIRMED
    assert ranking.recommendation.fastest is entry
    interval = differences.confidence_interval(0.95)
    found = entry.metrics["accuracy"]
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_a_floor_is_demanded_of_the_fresh_seeds_too() -> None:
    def recalls(records: list[dict[str, Any]], level: float) -> list[dict[str, Any]]:
        noise = np.random.default_rng(3)
        return [r | {"recall": level + noise.normal(0, 0.005)} for r in records]

    first = recalls(rows([ONE, TWO, FOUR]), 0.9)
    fresh = recalls(runs([ONE, FOUR], range(5, 15), "confirm"), 0.7)

    ranking = ranked(first + fresh, SWEEP, CONFIRM, floors={"recall": 0.8})

    assert ranking.recommendation.status is RecommendationStatus.NONE
    assert find(ranking, 4).verdict is Verdict.INFERIOR


def test_without_additions_all_seeds_are_one_look() -> None:
    records = rows([ONE, TWO]) + runs([ONE, TWO], range(5, 10), "later")

    assert ranked(records).to_json() == rank(frame(records), margins=MARGINS).to_json()


def test_the_winner_that_repeats_the_reference_needs_no_quality_but_a_speedup() -> None:
    columns = {"traces_comparable": True}
    cells = [
        replace(ONE, columns=columns),
        Cell(world_size=2, batch=32, seconds=6, columns=columns),
    ]
    fresh = runs(cells, range(5, 7), "confirm")
    confirm = added(SeedPurpose.CONFIRMATION, 5, 6)

    ranking = ranked(rows(cells) + fresh, SWEEP, confirm)

    assert ranking.recommendation.status is RecommendationStatus.CONFIRMED
    assert ranking.recommendation.fastest.evidence is Evidence.SAME_UPDATES
