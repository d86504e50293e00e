"""What a person reads: the view of a ranking, and how it is drawn."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from trials_frame import Cell, frame, mlperf, rows, write_folder

from ddp_sweep.analysis import Ranking, rank
from ddp_sweep.report.export import render
from ddp_sweep.report.terminal import print_ranking
from ddp_sweep.report.view import RowView, Tone, view_ranking

MARGINS: dict[str, float | str] = {"accuracy": 0.01}
COMPARABLE = {"traces_comparable": True}
GRID = [
    Cell(world_size=1, batch=64, seconds=12, columns=COMPARABLE),
    Cell(world_size=1, batch=128, seconds=10),
    Cell(world_size=2, batch=32, seconds=7, columns=COMPARABLE),
    Cell(world_size=2, batch=64, seconds=5.5),
    Cell(world_size=2, batch=512, seconds=3.5, accuracy=0.9),
    Cell(world_size=4, batch=32, seconds=4, accuracy=0.94),
]


def grid() -> list[dict[str, Any]]:
    failed = rows([Cell(world_size=8, batch=1024)])
    for record in failed:
        record.update(status="out_of_memory", train_time_s=None, accuracy=None, val_loss=None)
    return rows(GRID) + failed


def printed(ranking: Ranking, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    print_ranking(ranking, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def row(ranking: Ranking, sizes: str) -> RowView:
    (found,) = [r for r in view_ranking(ranking).rows if r.sizes.replace(" ", "") == sizes]
    return found


def test_how_good_the_reference_is_and_what_is_demanded_stand_above_the_table() -> None:
    cells = [
        Cell(world_size=1, batch=64, seconds=12),
        Cell(world_size=2, batch=64, seconds=6, accuracy=0.8),
    ]
    records = rows(cells)
    ranking = rank(frame(records), margins=MARGINS, floors={"accuracy": 0.9})
    mean = sum(record["accuracy"] for record in records if record["world_size"] == 1) / 5

    level, floor = view_ranking(ranking).levels

    assert level == f"1 worker x 64 itself: accuracy {mean:.4g}"
    assert re.fullmatch(
        r"accuracy must be at least 0\.9\. met: 1 worker x 64 0\.9\d+; "
        r"not met: 2 workers x 64 \(global batch 128\) 0\.[78]\d+",
        floor,
    )
    assert level in printed(ranking, 100)


@pytest.mark.parametrize(
    ("sizes", "outcome", "tone"),
    [
        ("2x64=128", "quality held", Tone.HELD),
        ("2x32=64", "quality held, same updates as 1 worker x 64", Tone.HELD),
        ("1x64=64", "quality reference", Tone.PLAIN),
        ("1x128=128", "baseline, quality held", Tone.PLAIN),
        ("4x32=128", "not yet known, 3 more seeds would tell (expected)", Tone.UNKNOWN),
        ("2x512=1,024", "quality lost", Tone.LOST),
        ("8x1,024=8,192", "did not finish", Tone.LOST),
    ],
)
def test_outcomes_are_in_plain_words(sizes: str, outcome: str, tone: Tone) -> None:
    found = row(rank(frame(grid()), margins=MARGINS), sizes)

    assert (found.outcome, found.tone) == (outcome, tone)


def test_a_row_holds_the_figures_of_its_configuration() -> None:
    ranking = rank(frame(grid()), margins=MARGINS)
    (entry,) = [e for e in ranking.configurations if e.configuration_id == "w2b64"]

    found = row(ranking, "2x64=128")

    low, high = entry.speedup_low, entry.speedup_high
    assert found.speedup == f"{entry.speedup:.2f}x [{low:.2f}, {high:.2f}]"
    assert found.efficiency == f"{100 * entry.scaling_efficiency:.0f} %"
    metric = entry.metrics["accuracy"]
    assert found.metrics == (f"{metric.difference:+.3f} [{metric.low:+.3f}, {metric.high:+.3f}]",)
    assert found.recommended


def test_the_advice_is_one_sentence_with_the_evidence() -> None:
    advice = view_ranking(rank(frame(rows(GRID[:4])), margins=MARGINS)).advice

    assert re.fullmatch(
        r"2 workers x 64 \(global batch 128\): [\d.]+x \[[\d.]+, [\d.]+\] faster than "
        r"1 worker x 128; quality held: accuracy .* margin 0\.01, on this validation set\.",
        advice,
    )


def test_no_advice_is_said_to_be_none() -> None:
    view = view_ranking(rank(frame(rows([GRID[1], GRID[3]]))))

    assert not view.decided
    assert view.advice.startswith("Nothing to recommend yet: ")
    assert "no margins were set" in view.advice


RANKINGS = {
    "one margin": lambda: rank(frame(grid()), margins=MARGINS),
    "three margins": lambda: rank(
        frame(grid()), margins=MARGINS | {"val_loss": "2%", "train_loss": 0.05}
    ),
    "no margins": lambda: rank(frame(grid())),
    "one seed": lambda: rank(frame(rows(GRID, seeds=1)), margins=MARGINS),
    "another tool": lambda: rank(mlperf("I_rnnt_hpe_8_128"), margins={"samples_to_target": "10%"}),
    "missed targets": lambda: rank(mlperf("C_resnet_nvidia_8_4216")),
    "one configuration": lambda: rank(frame(rows(GRID[:1])), margins=MARGINS),
}


@pytest.mark.parametrize("width", [50, 60, 80, 140])
@pytest.mark.parametrize("name", RANKINGS)
def test_the_table_fits_and_nothing_is_cut_off(name: str, width: int) -> None:
    ranking = RANKINGS[name]()

    text = printed(ranking, width)

    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    words = text.split()
    for found in view_ranking(ranking).rows:
        assert all(part in words for part in found.speedup.split())
        assert all(part in words for part in found.outcome.split())


@pytest.mark.parametrize("name", RANKINGS)
def test_no_internal_word_reaches_a_reader(name: str) -> None:
    ranking = RANKINGS[name]()

    text = printed(ranking, 140) + render(ranking, "markdown")

    assert not re.search(r"\b(None|nan|inf|null)\b", text)
    assert not re.search(r"\b(gangs?|lanes?|holm|welch|fisher|non.inferior)\b", text.lower())


def test_the_speedup_is_still_there_where_the_interval_does_not_fit() -> None:
    text = printed(rank(frame(grid()), margins=MARGINS), 80)

    assert "±" in text
    assert "±" not in printed(rank(frame(grid()), margins=MARGINS), 140)


def test_long_tables_are_cut_and_say_so() -> None:
    cells = [Cell(world_size=1, batch=8 * batch) for batch in range(1, 31)]
    ranking = rank(frame(rows(cells, seeds=1)))

    assert len(view_ranking(ranking).rows) == 20
    assert "... and 10 more of lower rank" in printed(ranking, 100)


def test_configurations_of_the_same_sizes_show_what_tells_them_apart() -> None:
    cells = [
        Cell(
            world_size=1,
            batch=64,
            columns={
                "configuration_id": optimizer,
                "trial_id": optimizer,
                "parameters": json.dumps({"optimizer": optimizer, "epochs": 8}),
            },
        )
        for optimizer in ("sgd", "adamw")
    ]

    view = view_ranking(rank(frame(rows(cells, seeds=1))))

    assert {found.distinction for found in view.rows} == {"optimizer sgd", "optimizer adamw"}


def test_the_commands_that_go_on_from_here_work(tmp_path: Path) -> None:
    folder = tmp_path / "my results"
    write_folder(folder, rows(GRID))
    ranking = rank(folder, margins=MARGINS)

    first, second = (shlex.split(command) for command, _ in view_ranking(ranking).commands)

    assert first[:2] == ["ddp-sweep", "rank"]
    shown = subprocess.run(
        [sys.executable, "-c", "from ddp_sweep.cli import main; main()", *first[1:]],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert json.loads(shown.stdout)["configurations"]
    assert second[0] == "python"
    shown = subprocess.run(
        [sys.executable, *second[1:]],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert "w2b64" in shown.stdout or "[30 rows" in shown.stdout


def test_a_frame_in_memory_has_no_command_to_go_on_with() -> None:
    assert view_ranking(rank(frame(rows(GRID)))).commands == ()


def test_over_the_margin_on_cost_is_told_from_a_loss_of_quality() -> None:
    ranking = RANKINGS["another tool"]()

    text = " ".join(printed(ranking, 80).split())

    found = row(ranking, "128,3,072")
    assert (found.outcome, found.speedup) == ("over the cost margin", "5.74x [5.58, 5.90]")
    assert text.startswith("Speedup in time to the target, and cost, against 8 workers")
    assert (
        "128 workers (global batch 3,072) is 5.74x [5.58, 5.90] as fast, and is over the margin "
        "on cost at the same target" in text
    )
    assert "That is a price to pay, not a loss of quality." in text
    assert "quality lost" not in text + render(ranking, "markdown")


def test_a_named_baseline_that_is_not_the_best_gives_both_speedups() -> None:
    named = {"world_size": 1, "per_worker_batch_size": 64}
    ranking = rank(frame(rows(GRID[:4])), margins=MARGINS, baseline=named)

    text = " ".join(printed(ranking, 80).split())

    (finding,) = [f for f in ranking.findings if f.kind == "weak_baseline"]
    naive, honest = (finding.evidence[f"{kind}_speedup"] for kind in ("naive", "honest"))
    assert f"is {honest:.2f}x as fast instead of {naive:.2f}x" in text
    assert honest < naive


def test_what_more_seeds_would_tell_is_said_with_the_command_that_runs_them(
    tmp_path: Path,
) -> None:
    cells = [GRID[0], Cell(world_size=2, batch=64, seconds=5.5, accuracy=0.948, spread=0.03)]
    write_folder(tmp_path, rows(cells))
    ranking = rank(tmp_path, margins=MARGINS)
    (entry,) = [e for e in ranking.configurations if e.world_size == 2]
    assert entry.seeds_needed is not None

    found = row(ranking, "2x64=128")
    text = " ".join(printed(ranking, 80).split())

    assert found.outcome == (
        f"not yet known, {entry.seeds_needed} more seeds would tell (expected)"
    )
    assert f"`ddp-sweep run SWEEP --more-seeds {entry.seeds_needed} --only undecided`" in text
    assert "--more-seeds" not in printed(rank(frame(rows(cells)), margins=MARGINS), 80)


def test_both_intervals_stand_where_that_for_other_data_is_known() -> None:
    ranking = rank(frame(rows(GRID[:4])), margins=MARGINS)
    entry = ranking.recommendation.fastest
    assert entry is not None
    wider = dataclasses.replace(
        entry.metrics["accuracy"], population_low=-0.021, population_high=0.017
    )
    entry = dataclasses.replace(entry, metrics={"accuracy": wider})
    ranking = dataclasses.replace(
        ranking, recommendation=dataclasses.replace(ranking.recommendation, fastest=entry)
    )

    text = " ".join(printed(ranking, 80).split())

    assert re.search(
        r"on this validation set; [-+.\d]+ \[-0\.021, \+0\.017\] for other data", text
    )


def test_pipes_in_settings_do_not_break_a_markdown_table() -> None:
    cells = [
        Cell(
            world_size=1,
            batch=64,
            columns={
                "configuration_id": name,
                "trial_id": name,
                "parameters": json.dumps({"transform": name}),
            },
        )
        for name in ("flip|crop", "crop")
    ]

    text = render(rank(frame(rows(cells, seeds=1))), "markdown")

    assert "transform flip\\|crop" in text


def test_csv_has_a_line_for_each_configuration() -> None:
    ranking = rank(frame(grid()), margins=MARGINS)

    lines = list(csv.DictReader(io.StringIO(render(ranking, "csv"))))

    assert [line["verdict"] for line in lines] == [e.verdict for e in ranking.configurations]
    assert lines[-1]["speedup"] == ""
    assert float(lines[0]["speedup"]) == ranking.configurations[0].speedup


def test_json_is_the_ranking() -> None:
    ranking = rank(frame(grid()), margins=MARGINS)

    assert json.loads(render(ranking, "json")) == ranking.to_json()


def test_markdown_is_a_table_with_the_advice() -> None:
    ranking = rank(frame(grid()), margins=MARGINS)

    lines = render(ranking, "markdown").splitlines()

    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(ranking.configurations)
    assert len({line.count("|") for line in table}) == 1
    assert f"**{view_ranking(ranking).advice}**" in lines
