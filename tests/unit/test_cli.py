"""The command line: what goes to stdout and stderr, exit codes, and what is not imported."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import Cli, Finished

import ddp_sweep
from ddp_sweep.analysis import Ranking, rank
from ddp_sweep.cluster.driver.agenda import Additions
from ddp_sweep.errors import CapacityError
from ddp_sweep.plan import Trial, build_plan
from ddp_sweep.results import ResultsFolder
from ddp_sweep.results.logs import TrialLogs
from ddp_sweep.schema import TRIALS, Status
from ddp_sweep.spec import SweepSpec, load_spec

ROOT = Path(__file__).parents[2]

WORKLOAD = """\
import torch
from torch.utils.data import TensorDataset

from ddp_sweep import Multiclass


class Points:
    task = Multiclass(2)

    def __init__(self, samples=96):
        self.samples = samples

    def build_model(self):
        return torch.nn.Linear(3, 2)

    def build_data(self):
        labels = torch.arange(self.samples) % 2
        data = TensorDataset(torch.ones(self.samples, 3), labels)
        return data, data

    def loss(self, outputs, targets):
        return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
"""
SWEEP = """\
name: points
workload: points.py:Points
sweep:
  world_size: [1, 2, 4]
  global_batch_size: [32, 63]
seeds: 3
training: {epochs: 1, learning_rate: 0.1}
quality: {margins: {accuracy: 0.01}}
resources: {max_workers: 2}
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "points.py").write_text(WORKLOAD)
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    return file


@pytest.fixture
def results(sweep: Path, tmp_path: Path) -> ResultsFolder:
    """A folder in which all trials but the last three have ended, one of those out of memory."""
    folder = ResultsFolder(tmp_path / "results" / "points")
    folder.trials.mkdir(parents=True)
    spec = load_spec(sweep)
    folder.spec_file.write_text(spec.to_yaml())
    trials = build_plan(spec, capacity=None, train_lengths=96).trials
    for number, trial in enumerate(trials[:-3]):
        status = Status.OUT_OF_MEMORY if number == 0 else Status.SUCCEEDED
        if number == 1:
            write_attempt(folder, trial, Status.WORKER_DIED, attempt=1)
        write_attempt(folder, trial, status, attempt=2 if number == 1 else 1)
    return folder


def write_attempt(folder: ResultsFolder, trial: Trial, status: Status, attempt: int) -> None:
    known = {name: getattr(trial, name, None) for name in TRIALS.names}
    row = {
        **known,
        "parameters": json.dumps(trial.parameters),
        "attempt": attempt,
        "status": status,
        "session_id": "s",
        "gang_id": "g",
        "samples": 96,
    }
    if status is Status.SUCCEEDED:
        measured = {"train_time_s": 8.0 / trial.world_size + 0.01 * trial.seed, "accuracy": 0.9}
        row |= {**measured, "wall_time_s": 10.0, "eval_samples": 96}
    file = folder.attempt_file("trials", trial.trial_id, attempt)
    pq.write_table(pa.Table.from_pylist([row], schema=TRIALS), file)


def test_every_verb_has_help(cli: Cli) -> None:
    asked, unasked = cli("--help"), cli()

    assert (asked.code, unasked.code) == (0, 2)
    for verb in ("validate", "plan", "run", "status", "logs", "rank"):
        assert verb in asked.out
        assert cli(verb, "--help").code == 0


def test_version(cli: Cli) -> None:
    assert cli("--version").out.strip() == ddp_sweep.__version__


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate"],
        ["validate", "--nonsense", "x.yaml"],
        ["plan", "x.yaml", "--format", "xml"],
        ["run", "x.yaml", "--progress", "loud"],
        ["rank", "x", "--margin", "accuracy"],
        ["rank", "x", "--baseline", "world_size=1,"],
        ["rank", "x", "--target", "=0.9"],
    ],
)
def test_wrong_usage_exits_with_2(cli: Cli, arguments: list[str]) -> None:
    finished = cli(*arguments)

    assert finished.code == 2
    assert finished.out == ""
    assert "Traceback" not in finished.err


def test_validate_counts_the_trials(cli: Cli, sweep: Path) -> None:
    finished = cli("validate", sweep)

    assert finished == Finished(
        0, f"{sweep} is valid: 18 trials, 6 configurations x 3 seeds\n", ""
    )


@pytest.mark.parametrize("verb", ["validate", "plan", "run"])
@pytest.mark.usefixtures("run_calls")
def test_a_bad_sweep_file_is_one_message_on_stderr(cli: Cli, sweep: Path, verb: str) -> None:
    sweep.write_text(SWEEP.replace("epochs", "epochz"))
    finished = cli(verb, sweep)

    assert (finished.code, finished.out) == (2, "")
    assert finished.err.startswith(f"error: {sweep}:7: training: missing epochs")
    assert f'{sweep}:7: training.epochz: unknown key; did you mean "epochs"?' in finished.err
    assert "Traceback" not in finished.err


def test_a_workload_that_cannot_be_imported_is_named(cli: Cli, sweep: Path) -> None:
    (sweep.parent / "points.py").write_text("import not_there\n")
    finished = cli("plan", sweep)

    assert (finished.code, finished.out) == (2, "")
    assert finished.err.startswith("error: ")
    assert "not_there" in finished.err


def test_a_margin_on_a_metric_that_the_task_lacks_is_refused(cli: Cli, sweep: Path) -> None:
    sweep.write_text(SWEEP.replace("accuracy", "rmse"))
    finished = cli("plan", sweep)

    assert (finished.code, finished.out) == (2, "")
    assert f"{sweep}:8: quality.margins.rmse: this workload has no such metric" in finished.err


def test_plan_as_json_holds_the_trials_in_order(cli: Cli, sweep: Path) -> None:
    finished = cli("plan", sweep, "--format", "json")
    plan = json.loads(finished.out)
    expected = build_plan(load_spec(sweep), capacity=2, train_lengths=96)

    assert finished.code == 0
    assert [trial["trial_id"] for trial in plan["trials"]] == [
        trial.trial_id for trial in expected.trials
    ]
    identity = {
        "trial_id",
        "configuration_id",
        "world_size",
        "per_worker_batch_size",
        "global_batch_size",
        "accumulation_steps",
        "seed",
        "parameters",
    }
    assert all(set(trial) == identity for trial in plan["trials"])
    assert all(set(trial) == identity | {"reason"} for trial in plan["infeasible"])
    assert plan["estimate"] == {"trials": 9, "worker_hours": None, "wall_s": None, "cost": None}
    reasons = {(t["world_size"], t["global_batch_size"]): t["reason"] for t in plan["infeasible"]}
    assert set(reasons) == {(2, 63), (4, 32), (4, 63)}
    assert reasons[4, 32] == "4 workers asked for, at most 2 can run at once"


def test_plan_as_a_table_shows_each_configuration_once(cli: Cli, sweep: Path) -> None:
    finished = cli("plan", sweep)

    assert "points: 9 trials = 3 configurations x 3 seeds" in finished.out
    assert finished.out.count("2 x 16 = 32") == 1
    assert "2 x ? = 63" in finished.out
    assert "must be a multiple of 2" in " ".join(finished.out.replace("│", " ").split())


def test_plan_takes_settings_in_place_of_those_of_the_file(cli: Cli, sweep: Path) -> None:
    finished = cli("plan", sweep, "--set", "seeds=[7]", "--set", "sweep.world_size=[1]")

    assert finished.code == 0
    assert "points: 2 trials = 2 configurations x 1 seed\n" in finished.out
    advised = " ".join(finished.out.split())
    assert f"ddp-sweep try {sweep} --set 'seeds=[7]' --set 'sweep.world_size=[1]'" in advised
    refused = cli("plan", sweep, "--set", "sedes=[7]")
    assert (refused.code, refused.out) == (2, "")
    assert "sedes" in refused.err


@pytest.mark.parametrize(("seeds", "warned"), [(0, False), (1, True), (2, True), (3, False)])
@pytest.mark.parametrize("verb", ["validate", "plan"])
def test_too_few_confirming_seeds_are_warned_of(
    cli: Cli, sweep: Path, verb: str, seeds: int, warned: bool
) -> None:
    text = sweep.read_text().replace("margins:", f"confirm_seeds: {seeds}, margins:")
    assert f"confirm_seeds: {seeds}" in text
    sweep.write_text(text)
    finished = cli(verb, sweep)

    assert finished.code == 0
    assert ("at least 3 fresh seeds" in finished.err) is warned
    if verb == "plan":
        said = f"confirming runs: {seeds} fresh seed" in " ".join(finished.out.split())
        assert said is (seeds > 0)


def test_status_counts_final_attempts_and_what_is_left(cli: Cli, results: ResultsFolder) -> None:
    finished = cli("status", results.path, "--format", "json")

    known = json.loads(finished.out)
    counts = {name: known[name] for name in ("planned", "ended", "left", "predicted_left_s")}
    # Of 18 trials 6 cannot run: 63 samples are no multiple of 2 and 4 workers.
    assert counts == {"planned": 18, "ended": 9, "left": 3, "predicted_left_s": 30.0}
    assert known["by_status"] == {"succeeded": 8, "out_of_memory": 1, "infeasible": 6}
    assert (known["folder"], known["runs"]) == (str(results.path), False)
    table = " ".join(cli("status", results.path).out.split())
    assert "9 of 18 trials ended" in table
    assert "3 left to run; predicted to take 30 s." in table


def test_status_counts_a_lost_trial_as_left(cli: Cli, results: ResultsFolder, sweep: Path) -> None:
    last = build_plan(load_spec(sweep), capacity=None, train_lengths=96).trials[-1]
    write_attempt(results, last, Status.INTERRUPTED, attempt=1)
    status = json.loads(cli("status", results.path, "--format", "json").out)

    assert (status["ended"], status["left"]) == (10, 3)


def test_status_counts_the_trials_of_added_seeds(
    cli: Cli, results: ResultsFolder, sweep: Path
) -> None:
    plan = build_plan(load_spec(sweep), capacity=None, train_lengths=96)
    small = sorted({t.configuration_id for t in plan.trials if t.world_size == 1})
    assert len(small) == 2
    results.seeds_file.write_text(
        "- {purpose: sweep, seeds: [0, 1, 2]}\n"
        f"- {{purpose: more_seeds, seeds: [3, 4], configuration_ids: {small}}}\n"
        f"- {{purpose: confirmation, seeds: [5, 6, 7], configuration_ids: [{small[0]}]}}\n"
    )
    status = json.loads(cli("status", results.path, "--format", "json").out)

    assert (status["planned"], status["left"]) == (18 + 4 + 3, 3 + 4 + 3)
    assert status["added"] == {"more_seeds": 4, "confirmation": 3}
    printed = " ".join(cli("status", results.path).out.split())
    assert "9 of 25 trials ended" in printed
    assert "4 for more seeds, 3 for the confirmation of a winner" in printed


def test_folders_without_results(cli: Cli, tmp_path: Path) -> None:
    for verb in ("status", "rank"):
        assert cli(verb, tmp_path / "missing").code == 2
    finished = cli("status", tmp_path)
    assert (finished.code, finished.out) == (2, "")
    assert "is no results folder" in finished.err


def test_a_foreign_file_is_left_out_with_a_warning(cli: Cli, results: ResultsFolder) -> None:
    (results.trials / "notes.txt").write_text("mine")
    finished = cli("status", results.path, "--format", "json")

    assert finished.err.startswith("warning: ")
    assert "notes.txt" in finished.err
    assert json.loads(finished.out)["ended"] == 9


def test_rank_takes_its_options_from_the_command_line(cli: Cli, results: ResultsFolder) -> None:
    finished = cli(
        "rank",
        results.path,
        "--baseline",
        "world_size=1,global_batch_size=63",
        "--margin",
        "accuracy=0.05",
        "--format",
        "json",
    )
    ranking = json.loads(finished.out)

    assert finished.code == 0, finished.err
    baseline = ranking["baseline"]
    assert (baseline["world_size"], baseline["global_batch_size"]) == (1, 63)
    assert {c["metrics"]["accuracy"]["margin"] for c in ranking["configurations"]} == {0.05}


def test_rank_strict_exits_with_4_where_nothing_is_recommended(
    cli: Cli, results: ResultsFolder
) -> None:
    without_data = ["rank", results.path, "--margin", "auroc=0.01"]

    assert cli(*without_data).code == 0
    assert cli(*without_data, "--strict").code == 4


@dataclass(frozen=True)
class Outcome:
    exit_code: int
    folder: Path
    ran: int
    message: str
    ranking: Ranking | None
    no_ranking_because: str | None = None


@pytest.fixture
def run_calls(monkeypatch: pytest.MonkeyPatch, results: ResultsFolder) -> list[dict[str, Any]]:
    """Stands in for the cluster: notes what it was asked for, and ends as interrupted."""
    calls: list[dict[str, Any]] = []

    def run_sweep(spec: SweepSpec, **settings: object) -> Outcome:
        if settings["address"] is not None:
            raise CapacityError("no cluster there")
        calls.append({"spec": spec, **settings})
        ended = (130, results.path, 7, "interrupted; resume with: ddp-sweep run")
        if not any(results.trials.iterdir()):
            return Outcome(*ended, ranking=None, no_ranking_because="no trial has ended yet")
        return Outcome(*ended, ranking=rank(results.path))

    module = ModuleType("ddp_sweep.cluster.driver.sweep")
    module.run_sweep = run_sweep  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ddp_sweep.cluster.driver.sweep", module)
    return calls


def test_run_hands_over_its_options_and_ends_as_the_sweep_did(
    cli: Cli, sweep: Path, run_calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    finished = cli(
        "run", sweep, "--set", "seeds=2", "--set", "training.epochs=3",
        "--output", tmp_path / "out", "--progress", "none",
    )  # fmt: skip

    [call] = run_calls
    assert call["spec"].seeds == (0, 1)
    assert call["spec"].training.epochs == 3
    assert (call["output"], call["progress"]) == (tmp_path / "out", "none")
    assert call["resume_command"] == (
        f"ddp-sweep run {sweep} --set seeds=2 --set training.epochs=3 "
        f"--output {tmp_path / 'out'} --progress none"
    )
    assert call["additions"] == Additions()
    assert finished.code == 130
    assert "resume with" in finished.err
    assert "speedup" in finished.out


def test_run_hands_over_what_to_add_and_resumes_without_adding_it_again(
    cli: Cli, sweep: Path, run_calls: list[dict[str, Any]]
) -> None:
    cli("run", sweep, "--more-seeds", "4", "--only", "undecided", "--accept-code-change")
    cli("run", sweep, "--only", "failed", "--extend")

    more, again = run_calls
    assert more["additions"] == Additions(more_seeds=4, only="undecided", accept_code_change=True)
    assert more["resume_command"] == f"ddp-sweep run {sweep} --accept-code-change"
    assert again["additions"] == Additions(only="failed", extend=True)
    assert again["resume_command"] == f"ddp-sweep run {sweep} --only failed"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--more-seeds", "0"], "more-seeds"),
        (["--only", "undecided"], "--more-seeds 5 --only undecided"),
        (["--only", "failed", "--more-seeds", "2"], "leave out --more-seeds"),
        (["--only", "faild"], "failed"),
    ],
)
def test_what_cannot_be_added_is_refused(
    cli: Cli, sweep: Path, run_calls: list[dict[str, Any]], arguments: list[str], words: str
) -> None:
    finished = cli("run", sweep, *arguments)

    assert finished.code == 2
    assert words in finished.err
    assert not run_calls


def test_run_writes_to_results_by_default(
    cli: Cli, sweep: Path, run_calls: list[dict[str, Any]]
) -> None:
    cli("run", sweep)

    assert run_calls[0]["output"] == Path("results/points")


@pytest.mark.usefixtures("run_calls")
def test_run_keeps_its_exit_code_where_nothing_can_be_ranked(
    cli: Cli, sweep: Path, results: ResultsFolder
) -> None:
    for file in results.trials.iterdir():
        file.unlink()
    finished = cli("run", sweep)

    assert (finished.code, finished.out) == (130, "")
    assert "no ranking: no trial" in finished.err


def test_a_ray_client_address_is_refused_with_the_reason(cli: Cli, sweep: Path) -> None:
    finished = cli("plan", sweep, "--address", "ray://head:10001")

    assert (finished.code, finished.out) == (2, "")
    assert finished.err.startswith("error: address 'ray://head:10001': the Ray client")


def test_run_without_a_cluster_exits_with_3(
    cli: Cli, sweep: Path, run_calls: list[dict[str, Any]]
) -> None:
    finished = cli("run", sweep, "--address", "10.0.0.1:6379")

    assert (finished.code, finished.err) == (3, "error: no cluster there\n")
    assert not run_calls


@pytest.mark.parametrize("verb", ["validate", "rank", "status", "logs"])
def test_light_verbs_import_neither_torch_nor_ray(
    verb: str, results: ResultsFolder, sweep: Path
) -> None:
    script = (
        "import sys\n"
        "from ddp_sweep.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as left:\n"
        "    assert not left.code, left.code\n"
        "heavy = {name.split('.')[0] for name in sys.modules} & {'torch', 'ray'}\n"
        "assert not heavy, heavy\n"
    )
    argument = sweep if verb == "validate" else results.path
    TrialLogs(results.logs).begin("a", 1, "1 worker x 64, seed 0", datetime.now(UTC))
    finished = subprocess.run(
        [sys.executable, "-c", script, verb, str(argument)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    assert finished.stdout


def test_a_packed_plan_shows_what_runs_side_by_side(cli: Cli, sweep: Path) -> None:
    packed = ("--set", "resources.placement=packed", "--set", "resources.max_workers=4")
    shown = " ".join(cli("plan", sweep, *packed).out.split())

    assert "wave 1: 6 trials of 1 worker, 4 at a time" in shown
    assert "wave 2: 3 trials of 2 workers, 2 at a time" in shown
    assert "give no speedup; quality is judged as ever" in shown
    assert "one for each of the seeds" not in shown
    unknown = cli("plan", sweep, *packed[:2], "--set", "resources.max_workers=null").out
    assert "as many at a time as fit" in " ".join(unknown.split())
    trials = json.loads(cli("plan", sweep, *packed, "--format", "json").out)["trials"]
    assert [trial["world_size"] for trial in trials] == sorted(t["world_size"] for t in trials)
