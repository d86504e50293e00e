"""The JSON of a ranking, key by key against what scripts rely on."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from trials_frame import Cell, frame, mlperf, rows

from ddp_sweep.analysis import Ranking, rank
from ddp_sweep.report.export import render, write

NUMBER = (float, int)
COUNT = int
TEXT = str


def optional(*kinds: type) -> tuple[type, ...]:
    return (*kinds, type(None))


METRIC = {
    "reference": optional(*NUMBER),
    "value": optional(*NUMBER),
    "difference": optional(*NUMBER),
    "low": optional(*NUMBER),
    "high": optional(*NUMBER),
    "population_low": optional(*NUMBER),
    "population_high": optional(*NUMBER),
    "margin": optional(*NUMBER, str),
    "p_value": optional(*NUMBER),
    "end_value": optional(*NUMBER),
    "verdict": {"non_inferior", "inferior", "inconclusive", None},
}
FINDING = {
    "kind": TEXT,
    "severity": {"info", "warning", "error"},
    "message": TEXT,
    "evidence": dict,
}
CONFIGURATION = {
    "world_size": COUNT,
    "per_worker_batch_size": optional(int),
    "global_batch_size": optional(int),
    "num_nodes": optional(int),
    "parameters": dict,
    "n_seeds": COUNT,
    "n_failed": COUNT,
    "n_not_converged": COUNT,
    "speedup": optional(*NUMBER),
    "speedup_low": optional(*NUMBER),
    "speedup_high": optional(*NUMBER),
    "scaling_efficiency": optional(*NUMBER),
    "throughput_efficiency": optional(*NUMBER),
    "statistical_efficiency": optional(*NUMBER),
    "within_one_start": optional(bool),
    "cost_ratio": optional(*NUMBER),
    "verdict": {"baseline", "non_inferior", "inferior", "inconclusive", "failed"},
    "evidence": {"seeds", "same_updates", "none"},
    "seeds_needed": optional(int),
    "metrics": {...: METRIC},
    "floors": dict,
    "findings": [FINDING],
    "reason": TEXT,
}
CONTRACT = {
    "baseline": CONFIGURATION,
    "reference": CONFIGURATION,
    "configurations": [CONFIGURATION],
    "findings": [FINDING],
    "recommendation": {
        "status": {"confirmed", "provisional", "none"},
        "fastest": ("or none", CONFIGURATION),
        "cheapest": ("or none", CONFIGURATION),
        "pareto": [CONFIGURATION],
        "tied_with": [CONFIGURATION],
        "reason": TEXT,
        "settings": optional(dict),
    },
}


def check(value: Any, wanted: Any, place: str = "ranking") -> None:
    """Whether a value has the keys and kinds that are wanted, all the way down."""
    if isinstance(wanted, tuple) and wanted[0] == "or none":
        if value is not None:
            check(value, wanted[1], place)
    elif isinstance(wanted, list):
        assert isinstance(value, list), place
        for position, item in enumerate(value):
            check(item, wanted[0], f"{place}[{position}]")
    elif isinstance(wanted, set):
        assert value in wanted, f"{place}: {value}"
    elif isinstance(wanted, dict):
        check_keys(value, wanted, place)
    else:
        kinds = wanted if isinstance(wanted, tuple) else (wanted,)
        assert type(value) in kinds, f"{place}: {value!r}"
        assert not isinstance(value, float) or math.isfinite(value), place


def check_keys(value: Any, wanted: Mapping[Any, Any], place: str) -> None:
    assert isinstance(value, dict), place
    if ... in wanted:
        wanted = dict.fromkeys(value, wanted[...])
    assert list(value) == list(wanted), place
    for key, item in value.items():
        check(item, wanted[key], f"{place}.{key}")


GRID = [
    Cell(world_size=1, batch=64, seconds=12, columns={"traces_comparable": True}),
    Cell(world_size=1, batch=128, seconds=10),
    Cell(world_size=2, batch=32, seconds=7, columns={"traces_comparable": True}),
    Cell(world_size=2, batch=64, seconds=5.5),
    Cell(world_size=2, batch=512, seconds=3.5, accuracy=0.9),
]
RANKINGS: dict[str, Callable[[], Ranking]] = {
    "a sweep": lambda: rank(
        frame(rows(GRID)), margins={"accuracy": 0.01}, floors={"accuracy": 0.8}
    ),
    "one seed": lambda: rank(frame(rows(GRID, seeds=1)), margins={"val_loss": "2%"}),
    "nothing to judge by": lambda: rank(frame(rows(GRID))),
    "another tool": lambda: rank(
        mlperf("C_resnet_nvidia_8_4216"), margins={"samples_to_target": "10%"}
    ),
}


@pytest.mark.parametrize("name", RANKINGS)
def test_the_json_keeps_the_contract(name: str) -> None:
    found = RANKINGS[name]().to_json()

    check(found, CONTRACT)
    assert found["baseline"] in found["configurations"]
    assert found["reference"] in found["configurations"]


@pytest.mark.parametrize("name", RANKINGS)
def test_the_text_is_the_same_json(name: str) -> None:
    ranking = RANKINGS[name]()
    file = io.StringIO()

    write(ranking, "json", file)

    assert json.loads(file.getvalue()) == ranking.to_json()
    assert file.getvalue() == render(ranking, "json") + "\n"


def test_a_figure_that_is_no_number_is_found_by_the_check() -> None:
    found = RANKINGS["a sweep"]().to_json()

    found["configurations"][0]["speedup"] = math.nan

    with pytest.raises(AssertionError, match=r"configurations\[0\].speedup"):
        check(found, CONTRACT)
