"""What must hold of every ranking, whatever the runs."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trials_frame import Cell, frame, mlperf, rows

from ddp_sweep.analysis import RankedConfiguration, Ranking, RecommendationStatus, Verdict, rank
from ddp_sweep.errors import TableError
from ddp_sweep.schema import Status

MARGINS: dict[str, float | str] = {"accuracy": 0.01}
CELLS = [
    Cell(world_size=1, batch=64, seconds=12),
    Cell(world_size=1, batch=128, seconds=10),
    Cell(world_size=2, batch=64, seconds=6, columns={"traces_comparable": True}),
    Cell(world_size=2, batch=128, seconds=5.4, accuracy=0.943),
    Cell(world_size=4, batch=64, seconds=4, accuracy=0.9),
]
OUTCOMES = {
    Verdict.BASELINE: 0,
    Verdict.NON_INFERIOR: 0,
    Verdict.INCONCLUSIVE: 1,
    Verdict.INFERIOR: 2,
    Verdict.FAILED: 3,
}
"""From best to worst."""


@st.composite
def sweeps(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Runs of all cells, with times and accuracies of their own and some that failed."""
    seeds = draw(st.integers(1, 6))
    records = rows(CELLS, seeds)
    for record in records:
        record["train_time_s"] *= draw(st.floats(0.8, 1.25))
        record["accuracy"] = draw(st.floats(0.9, 0.96))
    endings = st.sampled_from([Status.DIVERGED, Status.OUT_OF_MEMORY, Status.NODE_LOST])
    for position in draw(st.sets(st.integers(0, len(records) - 1), max_size=4)):
        records[position].update(status=draw(endings), accuracy=None, train_time_s=None)
    return records


def ranked(records: list[dict[str, Any]], **options: Any) -> Ranking:
    """With the reference and the baseline named, so that a change to others moves neither."""
    named = {"world_size": 1, "per_worker_batch_size": 64}
    return rank(frame(records), **{"margins": MARGINS, "baseline": named} | options)


def entry_of(ranking: Ranking, cell: Cell) -> RankedConfiguration:
    (found,) = [e for e in ranking.configurations if e.configuration_id == cell.name]
    return found


def place_of(ranking: Ranking, cell: Cell) -> int:
    return [e.configuration_id for e in ranking.configurations].index(cell.name)


def outcome_of(ranking: Ranking, cell: Cell) -> int:
    return OUTCOMES[entry_of(ranking, cell).verdict]


OTHERS = st.sampled_from(CELLS[1:])


@settings(max_examples=12)
@given(sweeps(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(records: list[dict[str, Any]], random: Any) -> None:
    plain = rank(frame(records), margins=MARGINS).to_json()
    random.shuffle(records)

    assert rank(frame(records), margins=MARGINS).to_json() == plain


def test_the_order_of_the_rows_of_another_tool_changes_nothing() -> None:
    runs = mlperf("I_rnnt_hpe_8_128")
    margins: dict[str, float | str] = {"samples_to_target": "10%"}

    shuffled = runs.sample(frac=1, random_state=3)

    assert rank(shuffled, margins=margins).to_json() == rank(runs, margins=margins).to_json()


@settings(max_examples=12)
@given(sweeps(), st.floats(1e-3, 1e3))
def test_the_unit_of_time_changes_no_speedup(records: list[dict[str, Any]], scale: float) -> None:
    plain = ranked(records)
    for record in records:
        if record["train_time_s"] is not None:
            record["train_time_s"] *= scale

    scaled = ranked(records)

    for cell in CELLS:
        before, after = entry_of(plain, cell), entry_of(scaled, cell)
        for name in ("speedup", "speedup_low", "speedup_high", "scaling_efficiency"):
            figures = getattr(before, name), getattr(after, name)
            assert figures == (None, None) or figures[1] == pytest.approx(figures[0], rel=1e-9)


@settings(max_examples=12)
@given(sweeps(), OTHERS, st.floats(1.001, 10))
def test_a_slower_configuration_never_gains_rank(
    records: list[dict[str, Any]], cell: Cell, factor: float
) -> None:
    """The baseline is named: where it is chosen by speed, a slower one may make room for another.

    Then every speedup is relative to something else, and ranks are not those of one comparison.
    """
    before = place_of(ranked(records), cell)
    for record in records:
        if record["configuration_id"] == cell.name and record["train_time_s"] is not None:
            record["train_time_s"] *= factor

    assert place_of(ranked(records), cell) >= before


@settings(max_examples=12)
@given(sweeps(), OTHERS, st.floats(0.001, 0.3))
def test_a_configuration_of_lower_quality_never_gains_rank(
    records: list[dict[str, Any]], cell: Cell, loss: float
) -> None:
    """Every value is shifted by the same amount, so that their spread stays what it was.

    The baseline is named, for the reason above.
    """
    before = place_of(ranked(records), cell)
    for record in records:
        if record["configuration_id"] == cell.name and record["accuracy"] is not None:
            record["accuracy"] -= loss

    after = ranked(records)
    assert place_of(after, cell) >= before


@settings(max_examples=12)
@given(
    sweeps(),
    OTHERS,
    st.sampled_from([Status.DIVERGED, Status.OUT_OF_MEMORY, Status.TIMED_OUT]),
)
def test_a_failed_run_more_never_improves_an_outcome(
    records: list[dict[str, Any]], cell: Cell, status: Status
) -> None:
    before = ranked(records)
    extra = next(r for r in rows([cell], seeds=20) if r["seed"] == 19)
    extra.update(status=status, accuracy=None, train_time_s=None)

    after = ranked([*records, extra])

    assert outcome_of(after, cell) >= outcome_of(before, cell)
    speedups = [entry_of(ranking, cell).speedup for ranking in (before, after)]
    assert None in speedups or speedups[1] <= speedups[0] * (1 + 1e-9)


@settings(max_examples=12)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "status": st.sampled_from(list(Status)),
                "train_time_s": st.none() | st.floats(1e-6, 1e6),
                "accuracy": st.none() | st.floats(0, 1) | st.just(float("nan")),
                "val_loss": st.none() | st.floats(allow_nan=True, allow_infinity=True),
                "eval_samples": st.none() | st.just(360),
                "num_nodes": st.none() | st.sampled_from([1, 2]),
                "oversubscribed": st.none() | st.booleans(),
                "traces_comparable": st.none() | st.booleans(),
                "session_id": st.sampled_from(["a", "b"]),
                "worker_hours": st.none() | st.floats(0, 10),
                "parameters": st.sampled_from(['{"x": NaN}', '{"x": Infinity}', "[]", "text"]),
            }
        ),
        min_size=15,
        max_size=15,
    )
)
def test_the_json_holds_only_what_json_knows(changes: list[dict[str, Any]]) -> None:
    cells = [CELLS[0], CELLS[2], Cell(world_size=2, batch=32)]
    records = [r | change for r, change in zip(rows(cells), changes, strict=True)]

    try:
        ranking = rank(frame(records), margins={"accuracy": 0.01, "val_loss": "5%"})
    except TableError as error:
        assert "no configuration could run" in str(error)
        return

    assert json.loads(json.dumps(ranking.to_json(), allow_nan=False)) == ranking.to_json()
    assert ranking.recommendation.status is not RecommendationStatus.CONFIRMED


NUMBERS = st.floats(allow_nan=False, allow_infinity=False, min_value=0, exclude_min=True)


@settings(max_examples=25)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "world_size": st.integers(1, 2**40),
                "global_batch_size": st.integers(1, 2**40),
                "time_to_target_s": st.none() | NUMBERS,
                "samples_to_target": st.none() | NUMBERS,
                "accuracy": st.none() | st.floats(0, 1),
                "perplexity": st.none() | st.floats(1, 1e300),
                "seed": st.none() | st.integers(0, 3),
            }
        ),
        min_size=1,
        max_size=12,
    )
)
def test_any_table_of_another_tool_gives_a_ranking_in_json(runs: list[dict[str, Any]]) -> None:
    margins: dict[str, float | str] = {"accuracy": 0.01, "perplexity": "2%"}

    ranking = rank(pd.DataFrame(runs), margins=margins)

    text = json.dumps(ranking.to_json(), allow_nan=False)
    assert len(json.loads(text)["configurations"]) == len(ranking.configurations)
    assert len({entry.name for entry in ranking.configurations}) == len(ranking.configurations)
