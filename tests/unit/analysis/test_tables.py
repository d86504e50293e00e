"""Tables of other tools: foreign names, conditions, pairing, and everything that can be wrong."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import Cli
from scipy import stats
from trials_frame import Cell, find, frame, mlperf, rows, write_folder

import ddp_sweep
from ddp_sweep.analysis import Verdict, rank
from ddp_sweep.errors import ResultsError, TableError

LEAST = pd.DataFrame({"world_size": [1, 2], "global_batch_size": 64, "train_time_s": [10.0, 6.0]})


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_least_table_gives_a_speedup_and_claims_nothing_else(
    tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"runs{suffix}"
    LEAST.to_csv(file, index=False) if suffix == ".csv" else LEAST.to_parquet(file)

    entry = find(rank(file), 2)

    assert entry.speedup == pytest.approx(10 / 6)
    assert (entry.speedup_low, entry.within_one_start, entry.num_nodes) == (None, None, None)
    assert entry.verdict is Verdict.INCONCLUSIVE


def test_throughput_alone_can_be_ranked() -> None:
    table = LEAST.drop(columns="train_time_s").assign(throughput_samples_per_s=[100.0, 170.0])

    assert find(rank(table), 2).speedup == pytest.approx(1.7)


def test_settings_that_differ_are_different_configurations() -> None:
    table = pd.concat([LEAST.assign(learning_rate=rate) for rate in (0.1, 0.2)])

    names = sorted(entry.name for entry in rank(table).configurations)

    assert names == [
        "1 worker (global batch 64), learning rate 0.1",
        "1 worker (global batch 64), learning rate 0.2",
        "2 workers (global batch 64), learning rate 0.1",
        "2 workers (global batch 64), learning rate 0.2",
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (LEAST.drop(columns="world_size"), "lacks a column world_size"),
        (LEAST.drop(columns="global_batch_size"), "per_worker_batch_size or global_batch_size"),
        (LEAST.drop(columns="train_time_s"), "time_to_target_s or train_time_s"),
        (
            LEAST.assign(train_time_s=[10, -1]),
            "row 1: received .*-1.*, allowed is a finite number",
        ),
        (LEAST.assign(train_time_s=[10, 0]), "above 0"),
        (LEAST.assign(train_time_s=[10, np.inf]), "received .*inf"),
        (LEAST.assign(train_time_s=["10", "fast"]), "received 'fast'"),
        (LEAST.assign(world_size=[1, 1.5]), "received .*1.5.*, allowed is a whole number"),
        (LEAST.assign(world_size=[1, None]), "world_size has rows without a value"),
        (LEAST.assign(status=["ok", "succeeded"]), "column status holds ok"),
        (LEAST.iloc[:0], "holds no rows"),
    ],
)
def test_tables_that_cannot_be_ranked_say_why(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(TableError, match=message):
        rank(table)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "runs.xlsx"
    file.write_text("x")
    with pytest.raises(TableError, match="neither Parquet nor CSV"):
        rank(file)


# Foreign names

EXPORT = pd.DataFrame(
    {
        "Name": [f"run-{number}" for number in range(8)],
        "State": ["finished"] * 7 + ["crashed"],
        "config/world_size": [1, 1, 1, 2, 2, 2, 2, 2],
        "config/batch": 64,
        "config/amp": [False] * 7 + [True],
        "_runtime": [10.0, 10.2, 9.9, 5.2, 5.1, 5.3, 5.2, 1.0],
        "val/acc": [0.951, 0.949, 0.95, 0.952, 0.949, 0.951, 0.95, 0.1],
        "config/seed": [0, 1, 2, 0, 1, 2, 3, 4],
    }
)
NAMES = {
    "world_size": "config/world_size",
    "global_batch_size": "config/batch",
    "train_time_s": "_runtime",
    "accuracy": "val/acc",
    "seed": "config/seed",
}
RENAMED = EXPORT.rename(columns={theirs: ours for ours, theirs in NAMES.items()})
FINISHED = {"State": "finished"}
AS_TEXT = ",".join(f"{ours}={theirs}" for ours, theirs in NAMES.items())


def test_a_table_under_foreign_names_ranks_as_under_ours() -> None:
    margins = {"accuracy": 0.01}

    found = rank(EXPORT, columns=NAMES, margins=margins)

    assert found.to_json() == rank(RENAMED, margins=margins).to_json()
    assert ddp_sweep.rank(EXPORT, columns=NAMES, margins=margins).to_json() == found.to_json()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_foreign_names_work_on_the_command_line(cli: Cli, tmp_path: Path, suffix: str) -> None:
    file = write_table(tmp_path / f"export{suffix}", EXPORT)
    options = ["--where", "State=finished", "--format", "json"]

    finished = cli(
        "rank", file, "--columns", AS_TEXT, "--margin", "val/acc=0.01", *options,
        "--baseline", "config/world_size=1",
    )  # fmt: skip

    assert finished.code == 0, finished.err
    expected = rank(
        RENAMED[RENAMED["State"] == "finished"],
        margins={"accuracy": 0.01},
        baseline={"world_size": 1},
    )
    entries = json.loads(finished.out)["configurations"]
    assert [entry["speedup"] for entry in entries] == [
        entry.speedup for entry in expected.configurations
    ]
    assert entries[1]["metrics"]["accuracy"]["margin"] == 0.01


def test_a_mapped_column_takes_the_place_of_one_that_has_our_name() -> None:
    both = EXPORT.assign(world_size=99, train_time_s=1.0)

    assert rank(both, columns=NAMES).to_json() == rank(EXPORT, columns=NAMES).to_json()


def test_columns_may_be_given_in_several_options(cli: Cli, tmp_path: Path) -> None:
    file = write_table(tmp_path / "export.csv", EXPORT)
    parts = [part for pair in AS_TEXT.split(",") for part in ("--columns", pair)]

    assert cli("rank", file, *parts).out == cli("rank", file, "--columns", AS_TEXT).out


def test_what_no_verdict_rests_on_changes_nothing(tmp_path: Path) -> None:
    records = rows([Cell(world_size=1, batch=64), Cell(world_size=2, batch=64, seconds=5)])
    for record in records:
        record.update(recall=0.75, confusion_matrix=[[300, 10], [12, 38]])
    whole = frame(records).drop(columns="final")
    write_table(tmp_path / "trials.parquet", whole.assign(notes="mine", startup_time_s=7.0))
    options: dict[str, Any] = {"margins": {"accuracy": 0.01, "recall": 0.02}}

    assert (
        rank(tmp_path / "trials.parquet", **options).to_json() == rank(whole, **options).to_json()
    )


# Conditions on rows


def test_conditions_choose_rows_and_the_ranking_says_so() -> None:
    found = rank(EXPORT, columns=NAMES, where=FINISHED)

    assert found.configurations[0].n_seeds + found.configurations[1].n_seeds == 7
    (finding,) = [f for f in found.findings if f.kind == "selected_rows"]
    assert finding.message == "Only runs with State = finished were ranked: 7 of 8."


@pytest.mark.parametrize(
    ("where", "rows_left"),
    [
        ({"config/world_size": "2"}, 5),
        ({"world_size": "2.0"}, 5),
        ({"config/amp": "false"}, 7),
        ({"config/amp": True}, 1),
        ({"State": ["finished", "crashed"], "config/seed": 1}, 2),
        ({"_runtime": "5.2"}, 2),
        ({"Name": "run-3"}, 1),
    ],
)
def test_a_condition_is_compared_as_the_column_is_typed(
    where: dict[str, Any], rows_left: int
) -> None:
    found = rank(EXPORT, columns=NAMES, where=where)

    assert sum(entry.n_seeds for entry in found.configurations) == rows_left


def test_large_seeds_are_told_apart() -> None:
    large = 2**60
    table = EXPORT.assign(**{"config/seed": [large + number for number in range(8)]})

    found = rank(table, columns=NAMES, where={"seed": str(large + 1)})

    assert [entry.n_seeds for entry in found.configurations] == [1]


def test_a_condition_may_name_a_setting_of_the_sweep() -> None:
    records = rows([Cell(world_size=1, batch=64), Cell(world_size=2, batch=64)])
    for record in records:
        record["parameters"] = json.dumps({"optimizer": "sgd" if record["seed"] else "adamw"})
        record["configuration_id"] += record["parameters"]

    found = rank(frame(records), where={"optimizer": "sgd"})

    assert [entry.n_seeds for entry in found.configurations] == [4, 4]


# Pairing


def test_runs_of_other_tools_pair_only_if_asked_for() -> None:
    logs = {
        size: np.log(part["_runtime"].to_numpy())
        for size, part in EXPORT[:6].groupby("config/world_size")
    }
    paired = stats.ttest_rel(logs[1], logs[2]).confidence_interval(0.9)
    apart = stats.ttest_ind(logs[1], logs[2], equal_var=False).confidence_interval(0.9)

    with_pairs = find(rank(EXPORT[:6], columns=NAMES, pair_by="seed"), 2)
    by_their_name = find(rank(EXPORT[:6], columns=NAMES, pair_by="config/seed"), 2)
    without = find(rank(EXPORT[:6], columns=NAMES), 2)

    assert (with_pairs.speedup_low, with_pairs.speedup_high) == pytest.approx(np.exp(paired))
    assert by_their_name == with_pairs
    assert (without.speedup_low, without.speedup_high) == pytest.approx(np.exp(apart))


def test_quality_pairs_as_well() -> None:
    accuracy = [part["val/acc"].to_numpy() for _, part in EXPORT[:6].groupby("config/world_size")]
    expected = stats.ttest_rel(accuracy[1], accuracy[0]).confidence_interval(0.9)

    found = rank(EXPORT[:6], columns=NAMES, pair_by="seed", margins={"accuracy": 0.05})

    shown = find(found, 2).metrics["accuracy"]
    assert (shown.low, shown.high) == pytest.approx((expected.low, expected.high))


# Configurations


def test_batches_and_numbers_of_nodes_are_configurations_of_their_own() -> None:
    table = pd.DataFrame(
        {
            "world_size": [8, 8, 8, 8],
            "global_batch_size": [256, 512, 512, 256],
            "num_nodes": [1, 1, 2, 1],
            "train_time_s": [10.0, 9.0, 9.5, 10.2],
        }
    )

    found = rank(table)

    assert sorted((e.global_batch_size, e.num_nodes, e.n_seeds) for e in found.configurations) == [
        (256, 1, 2),
        (512, 1, 1),
        (512, 2, 1),
    ]
    assert len({entry.name for entry in found.configurations}) == 3


def test_one_row_is_a_ranking_of_one() -> None:
    found = rank(LEAST[:1])

    assert [entry.speedup for entry in found.configurations] == [1]
    assert found.recommendation.fastest in (None, found.baseline)


# What is left out or pointed out


def kinds(table: pd.DataFrame, **options: Any) -> list[str]:
    return [finding.kind for finding in rank(table, **options).findings]


def test_copied_rows_are_left_out_where_a_column_tells_runs_apart() -> None:
    twice = pd.concat([EXPORT, EXPORT[2:4]])

    found = rank(twice, columns=NAMES)

    assert found.configurations[0].n_seeds + found.configurations[1].n_seeds == 8
    assert "repeated_rows" in {finding.kind for finding in found.findings}
    plain = rank(EXPORT, columns=NAMES)
    assert [e.speedup_low for e in found.configurations] == [
        e.speedup_low for e in plain.configurations
    ]


def test_equal_rows_without_a_seed_count_and_are_pointed_out() -> None:
    found = rank(pd.concat([LEAST, LEAST]))

    assert [entry.n_seeds for entry in found.configurations] == [2, 2]
    (finding,) = [f for f in found.findings if f.kind == "repeated_rows"]
    assert "2 rows repeat an earlier one" in finding.message


def test_a_seed_that_ran_twice_is_pointed_out() -> None:
    again = EXPORT[:6].assign(**{"config/seed": 42})

    assert "repeated_seeds" in kinds(again, columns=NAMES)
    assert "repeated_seeds" not in kinds(EXPORT[:6], columns=NAMES)


def test_a_run_without_a_time_is_pointed_out() -> None:
    table = EXPORT.assign(_runtime=EXPORT["_runtime"].mask(EXPORT["State"] == "crashed"))

    found = rank(table, columns=NAMES)

    assert "runs_without_time" in {finding.kind for finding in found.findings}
    assert find(found, 2).speedup == pytest.approx(
        find(rank(EXPORT, columns=NAMES, where=FINISHED), 2).speedup
    )


def test_a_table_in_which_every_run_missed_the_target_recommends_nothing() -> None:
    table = LEAST.assign(time_to_target_s=[np.nan, np.nan])

    found = rank(table)

    assert found.recommendation.fastest is None
    assert {entry.verdict for entry in found.configurations} <= {
        Verdict.FAILED,
        Verdict.BASELINE,
    }


def test_without_margins_a_table_is_told_of_the_option_and_once(cli: Cli, tmp_path: Path) -> None:
    three = EXPORT[6:7].assign(**{"config/world_size": 4})
    file = write_table(tmp_path / "export.csv", pd.concat([EXPORT[:6], three]))

    said = " ".join(cli("rank", file, "--columns", AS_TEXT).out.split())

    assert said.count("no margins were set (such as --margin accuracy=0.01)") == 1
    assert "sweep file" not in said
    assert "2 configurations are not yet known, for the same reason." in said


@pytest.mark.parametrize(
    ("column", "example"), [("val_loss", "val_loss=2%"), ("metric_x", "metric_x=2%")]
)
def test_the_margin_that_is_proposed_exists_in_the_table(column: str, example: str) -> None:
    table = LEAST.assign(**{column: 0.5})

    reason = find(rank(table), 2).reason
    assert f"--margin {example}" in reason
    name, _, margin = example.partition("=")
    assert find(rank(table, margins={name: margin}), 2).metrics[name].margin == margin


# Going on from a ranking


ASKED = [
    *("--columns", AS_TEXT, "--where", "State=finished", "--where", "config/seed=0"),
    *("--where", "config/seed=1", "--where", "config/seed=2", "--margin", "val/acc=0.01"),
    *("--pair-by", "seed", "--baseline", "config/world_size=1,config/batch=64"),
]


def test_the_command_for_scripts_asks_the_same_again(cli: Cli, tmp_path: Path) -> None:
    file = write_table(tmp_path / "my export.csv", EXPORT)
    table = cli("rank", file, *ASKED)

    (command,) = [line for line in table.out.splitlines() if line.startswith("ddp-sweep rank")]

    again = cli(*shlex.split(command)[1:])
    assert json.loads(again.out) == json.loads(cli("rank", file, *ASKED, "--format", "json").out)


def test_a_report_is_asked_as_a_ranking_is(cli: Cli, tmp_path: Path) -> None:
    file = write_table(tmp_path / "export.csv", EXPORT)
    table = cli("rank", file, *ASKED).out
    (heading,) = [line for line in table.splitlines() if line.startswith("Speedup")]

    assert cli("report", file, *ASKED).code == 0
    page = (tmp_path / "export-report.html").read_text(encoding="utf-8")

    assert heading in page
    assert "Only runs with State = finished and config/seed = 0 or 1 or 2 were ranked" in page


# Runs that are no repetitions of each other


def models(factor: float) -> pd.DataFrame:
    """The good runs of two models, of which one takes ``factor`` times as long."""
    slow = EXPORT[:6].assign(_runtime=EXPORT["_runtime"] * factor, model="vit")
    return pd.concat([EXPORT[:6].assign(model="resnet"), slow], ignore_index=True)


def test_what_explains_the_times_of_one_configuration_is_named() -> None:
    found = rank(models(3), columns=NAMES)

    (finding,) = [f for f in found.findings if f.kind == "mixed_runs"]
    assert finding.evidence["time_ratio"] == pytest.approx(3)
    assert "differ in model (resnet, vit), and their times by 3.00x" in finding.message
    assert finding.message.endswith('--where "model=resnet".')
    assert "mixed_runs" not in kinds(models(3), columns=NAMES, where={"model": "resnet"})


@pytest.mark.parametrize(
    "table",
    [
        models(1),  # of equal speed
        models(3).assign(model=["a", "b", "c"] * 4),  # explains nothing
        models(3).assign(model=[f"run-{number}" for number in range(12)]),  # one of each
        models(3).assign(model=[["resnet"]] * 12),  # no text
        models(3).rename(columns={"model": "device_name"}),  # known, and looked at elsewhere
    ],
)
def test_columns_that_explain_no_time_are_not_named(table: pd.DataFrame) -> None:
    assert "mixed_runs" not in kinds(table, columns=NAMES)


def test_columns_without_a_proper_name_do_no_harm() -> None:
    assert rank(LEAST.assign(**{"": "x"}).rename(columns={"": 7})).to_json() == (
        rank(LEAST).to_json()
    )


# How runs ended, in the words of another tool

STATED = {**NAMES, "status": "State"}


def ended(*states: str) -> pd.DataFrame:
    """Three good runs a side, and one more on two workers for each state, quick and bad."""
    extra = [EXPORT.iloc[[7]].assign(State=state, **{"val/acc": np.nan}) for state in states]
    return pd.concat([EXPORT[:6], *extra], ignore_index=True)


@pytest.mark.parametrize("state", ["crashed", "killed", "Running", "PREEMPTED", "worker_died"])
def test_an_end_that_says_nothing_is_left_out_and_told(state: str) -> None:
    found = rank(ended(state), columns=STATED, margins={"accuracy": 0.01}, pair_by="seed")
    clean = rank(EXPORT[:6], columns=STATED, margins={"accuracy": 0.01}, pair_by="seed")

    (finding,) = [f for f in found.findings if f.kind == "left_out_runs"]
    assert f"1 run of 7 was left out, since State says 1 {state}" in finding.message
    assert list(found.configurations) == list(clean.configurations)


def test_a_configuration_that_only_crashed_is_no_measure_of_others() -> None:
    crashed = EXPORT.iloc[[7]].assign(**{"config/world_size": 1, "config/batch": 32})

    found = rank(pd.concat([EXPORT[:6], crashed]), columns=STATED)

    assert (found.baseline.global_batch_size, found.reference.global_batch_size) == (64, 64)


def test_a_run_that_failed_counts_against_its_configuration() -> None:
    entry = find(rank(ended("failed"), columns=STATED), 2)

    assert (entry.n_seeds, entry.n_failed) == (4, 1)
    assert "1 of 4 failed" in entry.reason
    assert entry.speedup is not None
    assert entry.speedup < 2  # not the quick end of the one that failed


def test_runs_that_all_vanished_cannot_be_ranked() -> None:
    with pytest.raises(TableError, match="no run gave a measurement: column State says 6 crashed"):
        rank(EXPORT[:6].assign(State="crashed"), columns=STATED)


def test_words_that_nobody_knows_are_refused_under_the_name_of_their_column() -> None:
    with pytest.raises(TableError, match=r'column State holds odd; .*--where "State=VALUE"'):
        rank(ended("odd"), columns=STATED)


def test_a_time_without_the_quality_that_others_have_is_pointed_out() -> None:
    found = rank(ended("crashed"), columns=NAMES)

    (finding,) = [f for f in found.findings if f.kind == "runs_without_quality"]
    assert "1 run of 7 has a time but no accuracy" in finding.message
    assert "runs_without_quality" not in kinds(EXPORT, columns=NAMES)
    assert "runs_without_quality" not in kinds(ended("crashed"), columns=STATED)


# What is refused, with the reason and what to do


def write_table(file: Path, table: pd.DataFrame) -> Path:
    if file.suffix == ".csv":
        table.to_csv(file, index=False)
    else:
        table.to_parquet(file)
    return file


def csv_of(table: pd.DataFrame) -> str:
    text = io.StringIO()
    table.to_csv(text, index=False)
    return text.getvalue()


PLAIN = csv_of(LEAST)
FOREIGN = csv_of(EXPORT)
BAD_FILES = {
    "no rows": ("runs.csv", PLAIN.splitlines()[0] + "\n", "holds no rows"),
    "nothing at all": ("runs.csv", "", "cannot be read: it is empty"),
    "no column of time": (
        "runs.csv",
        csv_of(LEAST.drop(columns="train_time_s")),
        "lacks a column time_to_target_s or train_time_s or throughput_samples_per_s; it has "
        "world_size, global_batch_size. Say which columns hold these figures: --columns "
        "time_to_target_s=NAME",
    ),
    "foreign names": ("runs.csv", FOREIGN, "--columns world_size=NAME"),
    "semicolons": (
        "runs.csv",
        PLAIN.replace(",", ";"),
        "its columns are separated by semicolons; save it with commas",
    ),
    "tabs": ("runs.csv", PLAIN.replace(",", "\t"), "separated by tabs"),
    "rows longer than the heading": (
        "runs.csv",
        PLAIN.replace("1,64,10.0", "1,64,10.0,7"),
        "cannot be read",
    ),
    "a column twice": (
        "runs.csv",
        PLAIN.replace("global_batch_size", "train_time_s"),
        "has the column train_time_s twice",
    ),
    "not text at all": ("runs.csv", "\x00\x01", "error: "),
    "not Parquet": ("runs.parquet", "world_size", "cannot be read"),
    "another kind": ("runs.json", "{}", "neither Parquet nor CSV"),
    "text": ("runs.csv", PLAIN.replace("6.0", "fast"), "row 1: received 'fast'"),
    "a negative time": ("runs.csv", PLAIN.replace("6.0", "-6.0"), "received -6.0"),
    "a time of zero": (
        "runs.csv",
        PLAIN.replace("6.0", "0"),
        "allowed is a finite number above 0",
    ),
    "an infinite time": ("runs.csv", PLAIN.replace("6.0", "inf"), "received inf"),
    "true for a number": (
        "runs.csv",
        PLAIN.replace("10.0", "True").replace("6.0", "False"),
        "received True",
    ),
    "no world size": ("runs.csv", PLAIN.replace("2,64", ",64"), "rows without a value"),
    "part of a worker": ("runs.csv", PLAIN.replace("2,64", "1.5,64"), "whole number above 0"),
    "accuracy in percent": (
        "runs.csv",
        csv_of(LEAST.assign(accuracy=[95.0, 94.0])),
        "received 95.0, allowed is a finite number of at least 0 and at most 1",
    ),
    "accuracy in words": ("runs.csv", csv_of(LEAST.assign(accuracy=["good", "bad"])), "'good'"),
    "negative samples": (
        "runs.csv",
        csv_of(LEAST.assign(samples_to_target=[100, -5])),
        "received -5",
    ),
    "a negative cost": ("runs.csv", csv_of(LEAST.assign(cost=[1, -5])), "of at least 0"),
    "an unknown status": ("runs.csv", csv_of(LEAST.assign(status="ok")), "column status holds ok"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_ranked_is_one_message(cli: Cli, tmp_path: Path, name: str) -> None:
    file_name, text, message = BAD_FILES[name]
    file = tmp_path / file_name
    file.write_text(text)

    finished = cli("rank", file)

    assert (finished.code, finished.out) == (2, "")
    assert finished.err.startswith("error: ")
    assert message in finished.err
    assert "Traceback" not in finished.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--columns", "worldsize=config/world_size"], 'did you mean "world_size"?'),
        (["--columns", "Name=recall"], '"Name=recall" is turned round; our name stands first'),
        (
            ["--columns", "banana=Name"],
            "needed are world_size, per_worker_batch_size or global_batch_size, time_to_target_s "
            "or train_time_s or throughput_samples_per_s; a metric of your own is metric_<name>",
        ),
        (["--columns", "recall=val/acd"], 'did you mean "val/acc"?'),
        (["--columns", "recall=a,recall=b"], '"recall" is given as "a" and as "b"'),
        (["--columns", "recall=val/acc"], '"val/acc" stands for both accuracy and recall'),
        (["--columns", "recall"], "allowed: key=value"),
        (["--where", "state=finished"], 'did you mean "State"?'),
        (["--where", "State=done"], "no row has State = done; State has finished, crashed"),
        (["--where", "world_size=many"], "world_size holds numbers; received 'many'"),
        (["--where", "config/amp=maybe"], "config/amp holds true and false; received 'maybe'"),
        (["--where", "State=crashed", "--where", "seed=0"], "no row meets all of"),
        (["--where", "State"], "allowed: key=value"),
        (["--pair-by", "sead"], 'did you mean "seed"?'),
        (["--pair-by", "Name"], "none of its values occurs in two configurations"),
        (["--margin", "acuracy=0.01"], 'did you mean "accuracy"?'),
        (["--margin", "accuracy=-1"], "no number above 0"),
        (["--margin", "accuracy=2%"], "relative"),
        (["--target", "accuracy=0.9"], "give the time to the target as its column"),
        (["--target", "accuracy=high"], "allowed: a number"),
        (["--baseline", "world_size=16"], "no configuration that could run has"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_that_makes_no_sense_is_one_message(
    cli: Cli, tmp_path: Path, options: list[str], message: str
) -> None:
    file = write_table(tmp_path / "export.csv", EXPORT)

    finished = cli("rank", file, "--columns", AS_TEXT, *options)

    assert (finished.code, finished.out) == (2, "")
    assert message in " ".join(finished.err.replace("│", " ").split())
    assert "Traceback" not in finished.err


@pytest.mark.parametrize(
    ("theirs", "value"),
    [("_runtime", -1.0), ("val/acc", 95.0), ("val/acc", "good"), ("config/world_size", None)],
)
def test_a_wrong_value_is_told_under_the_name_that_the_table_has(theirs: str, value: Any) -> None:
    wrong = EXPORT.astype({theirs: "object"})
    wrong.loc[2, theirs] = value

    with pytest.raises(TableError, match=f"^column {theirs}[, ]"):
        rank(wrong, columns=NAMES)


def test_a_file_that_is_not_there_is_said_to_be_a_file(cli: Cli, tmp_path: Path) -> None:
    file = write_table(tmp_path / "export.csv", EXPORT)

    for verb in ("rank", "report"):
        assert f"there is no file {tmp_path / '7.csv'}; give" in cli(verb, tmp_path / "7.csv").err
        assert f"did you mean {file}?" in cli(verb, tmp_path / "exprt.csv").err


def test_columns_that_stand_twice_in_a_table_are_refused() -> None:
    table = pd.concat([LEAST, LEAST["train_time_s"]], axis=1)

    with pytest.raises(TableError, match="has the column train_time_s twice"):
        rank(table)


def test_infinite_values_of_a_frame_are_refused() -> None:
    with pytest.raises(TableError, match="received inf"):
        rank(LEAST.assign(val_loss=[0.1, np.inf]))


def test_a_folder_that_holds_no_results_says_what_would(cli: Cli, tmp_path: Path) -> None:
    finished = cli("rank", tmp_path)

    assert finished.code == 2
    assert "is no results folder: it has neither trials/ nor _sweep.yaml" in finished.err


def test_the_folder_of_one_table_points_to_the_one_above(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "digits", rows([Cell(world_size=1, batch=64)]))

    with pytest.raises(ResultsError, match=r"did you mean .*digits\?"):
        rank(folder.trials)


def test_a_sweep_has_our_names_and_pairs_by_itself(tmp_path: Path) -> None:
    write_folder(tmp_path, rows([Cell(world_size=1, batch=64), Cell(world_size=2, batch=64)]))

    with pytest.raises(TableError, match="has our names already"):
        rank(tmp_path, columns={"accuracy": "val/acc"})
    with pytest.raises(TableError, match="runs of a sweep pair by themselves"):
        rank(tmp_path, pair_by="seed")
    assert len(rank(tmp_path, where={"world_size": 2}).configurations) == 1


def test_mlperf_logs_rank_under_their_own_names(tmp_path: Path, cli: Cli) -> None:
    file = write_table(tmp_path / "mlperf.csv", mlperf("I_rnnt_hpe_8_128"))

    finished = cli(
        "rank", file, "--columns", "time_to_target_s=run_duration_s", "--format", "json",
        "--baseline", "world_size=16", "--where", "converged=true",
    )  # fmt: skip

    found = {e["world_size"]: e["speedup"] for e in json.loads(finished.out)["configurations"]}
    assert found[128] == pytest.approx(4.485, rel=0.001)
