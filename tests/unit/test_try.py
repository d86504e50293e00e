"""Trying a workload out in this process: what is printed, what is found, what it costs later."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddp_sweep.report.tryout_view import _loss
from ddp_sweep.training.tried import Tryout

ROOT = Path(__file__).parents[2]

WORKLOAD = """\
import torch
from torch.utils.data import Dataset

from ddp_sweep import Multiclass


class Rows(Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        label = index * 3 // self.count  # sorted by class
        return {"x": torch.full((4,), float(label)), "y": torch.tensor(label)}


class Mine:
    task = Multiclass(3)

    def build_model(self):
        self.used = torch.nn.Linear(4, 3)
        frozen = torch.nn.Linear(4, 4)
        frozen.requires_grad_(False)
        return torch.nn.Sequential(frozen, self.used)

    def build_data(self):
        return Rows(600), Rows(3_000)

    def describe(self):
        return {"rows": "sorted by class"}

    def collate(self, samples):
        return torch.stack([s["x"] for s in samples]), torch.stack([s["y"] for s in samples])

    def loss(self, outputs, targets):
        {LINE}
        return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
"""
SWEEP = """\
name: mine
workload: mine.py:Mine
sweep:
  world_size: [2, 4]
  global_batch_size: [32, 64]
  learning_rate: [{RATE}]
seeds: 3
training: {{epochs: 2, evaluations: 4, learning_rate_scaling: none}}
quality: {{margins: {{accuracy: 0.01}}}}
resources: {{price_per_worker_hour: 36.0, device: cpu}}
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return written(tmp_path)


def written(folder: Path, line: str = "", rate: float = 0.1) -> Path:
    (folder / "mine.py").write_text(WORKLOAD.replace("{LINE}", line))
    file = folder / "sweep.yaml"
    file.write_text(SWEEP.format(RATE=rate))
    return file


def ddp_sweep(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    script = "import sys; from ddp_sweep.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(str(arguments[1])).parent,
        timeout=120,
    )


def test_it_says_what_a_newcomer_needs_to_know(sweep: Path) -> None:
    tried = ddp_sweep("try", sweep)
    page = " ".join(tried.stdout.split())

    assert tried.returncode == 0, tried.stderr
    assert "The smallest of 4 configurations: 1 worker x 16, one worker's share of 2" in page
    for words in (
        "task multiclass, 3 classes",
        "600 samples to train on, 3,000 to validate",
        "rows sorted by class",
        "model input [16, 4] float32",
        "model output [16, 3] float32",
        "targets [16] int64",
        "parameters 35, 15 of them trained",
        "loss going down",
        # Evenly spaced, though the set is sorted by class: otherwise recall would be 1/3 at most.
        "(on 2,000 of the samples)",
        # Samples of one class are equal here.
        "2,000 of 2,000 validation samples are training samples as well",
        f"It runs. Next: ddp-sweep plan {sweep}",
    ):
        assert words in page


def test_it_takes_settings_in_place_of_those_of_the_file(sweep: Path) -> None:
    tried = ddp_sweep("try", sweep, "--set", "sweep.global_batch_size=[48]")
    page = " ".join(tried.stdout.split())

    assert tried.returncode == 0, tried.stderr
    assert "The smallest of 2 configurations: 1 worker x 24, one worker's share of 2" in page
    assert f"Next: ddp-sweep plan {sweep} --set 'sweep.global_batch_size=[48]'" in page


def test_it_starts_no_ray_and_leaves_no_results(sweep: Path) -> None:
    script = (
        "import sys; sys.argv = ['ddp-sweep', 'try', sys.argv[1]]\n"
        "from ddp_sweep.cli import main\n"
        "try:\n    main()\nfinally:\n    assert 'ray' not in sys.modules\n"
    )
    tried = subprocess.run(
        [sys.executable, "-c", script, sweep], capture_output=True, text=True, check=False
    )

    assert tried.returncode == 0, tried.stderr
    assert {file.name for file in sweep.parent.iterdir()} <= {
        "mine.py",
        "sweep.yaml",
        "__pycache__",
    }


def test_a_breakpoint_in_a_workload_works(tmp_path: Path) -> None:
    sweep = written(tmp_path, line="breakpoint() if outputs.shape[0] == 16 else None")
    tried = ddp_sweep("try", sweep, stdin="print(6 * 7, tuple(targets.shape))\nq\n")

    assert "42 (16,)" in tried.stdout


def test_an_error_is_shown_with_the_users_own_lines(tmp_path: Path) -> None:
    late = "if not outputs.requires_grad and len(outputs) > 4: raise KeyError('weights')"
    sweep = written(tmp_path, line=late)
    tried, debugged = ddp_sweep("try", sweep), ddp_sweep("try", sweep, "--debug")

    assert tried.returncode == debugged.returncode == 2
    message = tried.stderr[tried.stderr.index("error: ") :]
    assert message.startswith("error: while training and evaluating:")
    assert f'File "{tmp_path / "mine.py"}"' in message
    assert "KeyError: 'weights'" in message
    assert "ddp_sweep/training" not in message
    assert "ddp_sweep/training" in debugged.stderr  # the whole way there


def test_debug_names_the_operation_that_made_a_nan(tmp_path: Path) -> None:
    line = "return ((outputs - outputs).abs().sum(dim=1)).sqrt() * 0 + outputs.sum(dim=1)"
    tried = ddp_sweep("try", written(tmp_path, line=line), "--debug")

    assert tried.returncode == 2
    assert "SqrtBackward" in tried.stderr


def test_a_loss_that_becomes_no_number_is_said_with_the_rate(tmp_path: Path) -> None:
    line = "outputs = outputs * 1e30 * outputs.abs().max()"
    tried = ddp_sweep("try", written(tmp_path, line=line, rate=1e9))

    page = " ".join(tried.stdout.split())
    assert tried.returncode == 1, tried.stdout + tried.stderr
    assert "a loss is no finite number; try a smaller learning rate than 1e+09" in page
    assert "It did not get to its end" in page


def test_what_a_workload_warns_of_is_part_of_the_page(tmp_path: Path) -> None:
    sweep = written(tmp_path)
    text = (tmp_path / "mine.py").read_text()
    warning = textwrap.indent(
        "import warnings\nwarnings.warn('half of the rows are copies', ddp_sweep.DataWarning)\n",
        8 * " ",
    )
    text = text.replace("        return Rows(600)", warning + "        return Rows(600)")
    (tmp_path / "mine.py").write_text("import ddp_sweep\n" + text)

    assert "warning: half of the rows are copies" in ddp_sweep("try", sweep).stdout
    planned = ddp_sweep("plan", sweep)
    assert planned.stderr == "warning: half of the rows are copies\n"


def test_plan_predicts_from_a_try_out(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def estimate() -> dict[str, float | None]:
        plan = json.loads(ddp_sweep("plan", sweep, "--format", "json").stdout)
        found: dict[str, float | None] = plan["estimate"]
        return found

    unknown = {"trials": 12, "worker_hours": None, "wall_s": None, "cost": None}
    assert estimate() == unknown
    ddp_sweep("try", sweep)
    known = estimate()
    assert known["worker_hours"] is not None
    assert known["cost"] == pytest.approx(36 * known["worker_hours"])
    assert known["wall_s"] is not None
    assert "in `ddp-sweep try` on this machine" in " ".join(
        ddp_sweep("plan", sweep).stdout.split()
    )
    # Another version of the workload may take another time.
    written(sweep.parent, line="targets = targets + 0")
    assert estimate() == unknown


@given(st.lists(st.floats(0.001, 100), min_size=6, max_size=40))
def test_the_figures_shown_go_where_the_sentence_says(losses: list[float]) -> None:
    steps = SimpleNamespace(losses=losses)
    sentence = _loss(cast("Tryout", steps))
    shown = re.search(r"average (\S+) in the first \d+ steps, (\S+) in the last", sentence)
    assert shown
    first, last = map(float, shown.groups())
    if sentence.startswith("going down"):
        assert last < first
    if sentence.startswith("going up"):
        assert last > first
