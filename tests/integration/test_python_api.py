"""A sweep from a script, with the workload in the script itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ddp_sweep

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

SCRIPT = """\
import functools

import torch
from torch.utils.data import TensorDataset

import ddp_sweep


@functools.cache
def data():
    torch.manual_seed(0)
    inputs = torch.randn(120, 4)
    return TensorDataset(inputs, (inputs.sum(dim=1) > 0).long())


class Mine:
    task = ddp_sweep.Multiclass(2)

    def __init__(self, width=4):
        self.width = width

    def build_model(self):
        return torch.nn.Sequential(torch.nn.Linear(4, self.width), torch.nn.Linear(self.width, 2))

    def build_data(self):
        return data(), data()

    def loss(self, outputs, targets):
        return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")


if __name__ == "__main__":
    outcome = ddp_sweep.run_sweep(
        {
            "name": "mine",
            "workload_options": {"width": 3},
            "sweep": {"world_size": [1, 2], "global_batch_size": [20]},
            "seeds": 1,
            "training": {"epochs": 1, "learning_rate": 0.1},
            "quality": {"margins": {"accuracy": 0.05}},
            "resources": {"device": "cpu"},
        },
        workload=Mine,
        progress="none",
    )
    frame = outcome.ranking.to_frame()
    print(outcome.exit_code, outcome.ran, sorted(frame["world_size"]))
    print(outcome.ranking._repr_html_().count("<tr>"))
"""


@pytest.mark.slow
def test_a_class_in_a_script_runs_on_the_workers(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    ran = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "0 2 [1, 2]\n3\n"
    trials = ddp_sweep.load_results(tmp_path / "results" / "mine").trials
    assert set(trials["status"]) == {"succeeded"}
    # The call may change, the class and what it calls may not.
    call, changed = SCRIPT.replace('progress="none",', 'progress="none", additions=MORE,'), {}
    call = call.replace(
        'if __name__ == "__main__":',
        'if __name__ == "__main__":\n    MORE = ddp_sweep.Additions()',
    )
    for name, text in (("call", call), ("code", call.replace("sum(dim=1)", "mean(dim=1)"))):
        (tmp_path / "script.py").write_text(text)
        changed[name] = subprocess.run(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert changed["call"].stdout == "0 0 [1, 2]\n3\n", changed["call"].stderr
    assert changed["code"].returncode == 1
    assert "SpecChangedError" in changed["code"].stderr
    assert "Additions(accept_code_change=True)" in changed["code"].stderr

    assert trials["parameters"].str.contains('"workload": "__main__:Mine"', regex=False).all()
