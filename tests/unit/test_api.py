"""The Python API without a cluster: what is read, sent and drawn."""

from __future__ import annotations

import functools
import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ray import cloudpickle
from rich.console import Console

import ddp_sweep
from ddp_sweep import api
from ddp_sweep.cluster.driver.sweep import SweepOutcome
from ddp_sweep.cluster.gang.sent_workload import SentWorkload
from ddp_sweep.errors import WorkloadError
from ddp_sweep.report.notebook import ranking_html
from ddp_sweep.report.terminal import print_ranking
from ddp_sweep.spec import SweepSpec, load_spec

SETTINGS = {
    "name": "mine",
    "sweep": {"world_size": [1], "global_batch_size": [8]},
    "training": {"epochs": 1, "learning_rate": 0.1},
}


class Mine:
    """Only its name matters here."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    found: list[Any] = []
    monkeypatch.setattr(
        "ddp_sweep.cluster.driver.sweep.run_sweep", lambda spec, **more: found.append((spec, more))
    )
    yield found


def test_a_workload_given_takes_the_place_of_the_named_one(
    calls: list[Any], tmp_path: Path
) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "name: mine\nworkload: other.py:Other\nsweep: {world_size: [1], global_batch_size: [8]}\n"
        "training: {epochs: 1, learning_rate: 0.1}\n"
    )
    workload: Any = Mine
    for spec in (SETTINGS, SETTINGS | {"workload": "other.py:Other"}, file, load_spec(file)):
        ddp_sweep.run_sweep(spec, workload=workload)
        read, more = calls.pop()
        assert isinstance(read, SweepSpec)
        assert read.workload == f"{__name__}:Mine"
        assert (more["workload"], more["output"]) == (Mine, Path("results/mine"))
    assert read.base_dir == tmp_path
    ddp_sweep.run_sweep(str(file), output="elsewhere")
    read, more = calls.pop()
    assert (read.workload, more["workload"], more["output"]) == (
        "other.py:Other",
        None,
        "elsewhere",
    )


def test_a_workload_object_is_refused(calls: list[Any]) -> None:
    workload: Any = Mine()
    with pytest.raises(WorkloadError, match="allowed: a class, or a function"):
        api.run_sweep(SETTINGS, workload=workload)
    assert not calls


def test_what_cannot_be_sent_is_said_before_anything_starts() -> None:
    lock = threading.Lock()

    def factory() -> Any:
        return lock

    said = r"factory\.lock cannot be sent to the workers: .*lock"
    with pytest.raises(WorkloadError, match=said):
        SentWorkload.of(factory)


def test_cached_functions_of_a_script_are_sent_and_others_stay_names() -> None:
    script = (
        "import functools, sys\n"
        "from ddp_sweep.cluster.gang.sent_workload import SentWorkload\n"
        "@functools.lru_cache(maxsize=7)\n"
        "def data(): return 'made there'\n"
        "class Mine:\n"
        "    def build_data(self): return data(), data.cache_info().maxsize\n"
        "sys.stdout.buffer.write(SentWorkload.of(Mine).pickled)\n"
    )
    pickled = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True
    ).stdout

    assert cloudpickle.loads(pickled)().build_data() == ("made there", 7)
    assert functools._lru_cache_wrapper not in __import__("copyreg").dispatch_table


class Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_ranking_is_drawn_as_html_with_every_text_escaped() -> None:
    frame = pd.DataFrame(
        {
            "world_size": 1,
            "configuration_id": ["a"] * 3 + ["b"] * 3,
            "global_batch_size": 64,
            "train_time_s": [10.0, 10.2, 9.9, 6.0, 6.1, 5.9],
            "accuracy": [0.9, 0.91, 0.9, 0.9, 0.91, 0.9],
            "parameters": ['{"model": "<script>alert(1)</script>"}'] * 3
            + ['{"model": "b & <b>"}'] * 3,
        }
    )
    ranking = ddp_sweep.rank(frame, margins={"accuracy": 0.01})
    page = ranking._repr_html_()
    assert page == ranking_html(ranking)
    read = Text()
    read.feed(page)

    assert "script" not in read.tags
    assert "<script>" not in page
    assert read.tags.count("tr") == 3
    assert "<script>alert(1)</script>" in read.words
    assert "outcome" in read.words
    for internal in ("gang", "lane", "Welch", "Holm"):
        assert internal not in read.words


def test_rankings_outcomes_and_results_print_what_people_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ranking = ddp_sweep.rank(
        pd.DataFrame(
            {
                "world_size": [1] * 3 + [2] * 3,
                "global_batch_size": 64,
                "train_time_s": [10.0, 10.2, 9.9, 6.0, 6.1, 5.9],
                "accuracy": [0.9, 0.91, 0.9] * 2,
            }
        ),
        margins={"accuracy": 0.1},
    )
    console = Console(file=io.StringIO(), width=80, color_system=None)
    print_ranking(ranking, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert str(ranking).split() == shown.split()
    assert "configurations" in repr(ranking)
    frame = ranking.to_frame()
    assert list(frame.columns[:3]) == ["rank", "name", "recommended"]
    assert list(frame["name"]) == [entry.name for entry in ranking.configurations]
    fastest = ranking.recommendation.fastest
    assert fastest is not None
    assert list(frame.loc[frame["recommended"], "name"]) == [fastest.name]

    ended = SweepOutcome(exit_code=0, folder=tmp_path, ran=4, message="4 done", ranking=ranking)
    assert str(ended) == f"4 done\n\n{ranking}"
    nothing = SweepOutcome(
        exit_code=1, folder=tmp_path, ran=0, message="0 done", no_ranking_because="no trial"
    )
    assert str(nothing) == "0 done\nno ranking: no trial"
    assert repr(ddp_sweep.load_results(tmp_path)) == (
        f"<Results of {tmp_path}: rows: 0 trials, 0 evals, 0 steps>"
    )
    for shown in (repr(ranking), repr(ended), repr(ranking.configurations)):
        assert len(shown) < 500
        assert " at 0x" not in shown
