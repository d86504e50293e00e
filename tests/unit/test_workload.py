from __future__ import annotations

import functools
import hashlib
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ddp_sweep.errors import WorkloadError
from ddp_sweep.workload import (
    Binary,
    Multiclass,
    class_names,
    code_version,
    load_workload,
    user_traceback,
)
from ddp_sweep.workloads.digits import Digits

GOOD = """
from beside import VALUE

class Mine:
    value = VALUE
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_a_workload_is_loaded_from_a_module() -> None:
    assert load_workload("ddp_sweep.workloads.digits:Digits") is Digits


def test_a_workload_is_loaded_from_a_file_with_what_lies_beside_it(folder: Path) -> None:
    (folder / "mine.py").write_text(GOOD)
    (folder / "beside.py").write_text("VALUE = 7")
    relative: Any = load_workload("mine.py:Mine", folder)
    absolute: Any = load_workload(f"{folder}/mine.py:Mine")
    assert (relative.value, absolute.value) == (7, 7)
    del sys.modules["beside"]


def test_files_of_the_same_name_are_not_taken_for_each_other(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "workload.py").write_text(f"class W:\n    name = {name!r}")
    one: Any = load_workload("one/workload.py:W", folder)
    two: Any = load_workload("two/workload.py:W", folder)
    assert (one.name, two.name) == ("one", "two")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("digits", "expected module:attribute or path/to/file.py:attribute"),
        (":Digits", "expected module:attribute"),
        ("ddp_sweep.workloads.digits:", "expected module:attribute"),
        ("ddp_sweep.workloads.digits:Digit", "has no 'Digit'; did you mean 'Digits'?"),
        ("ddp_sweep.workloads.digits:xyzzy", "has no 'xyzzy'"),
        ("ddp_sweep.workloads.digitz:Digits", "no module named 'ddp_sweep.workloads.digitz'"),
        ("no_such_package.at_all:X", "give a file as path/to/file.py:attribute"),
        ("missing.py:X", "there is no file "),
        ("ddp_sweep.schema:SCHEMA_VERSION", "SCHEMA_VERSION is of type int; expected a class"),
    ],
)
def test_a_workload_that_cannot_be_found_is_named(target: str, message: str, folder: Path) -> None:
    with pytest.raises(WorkloadError) as caught:
        load_workload(target, folder)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"workload {target!r}")


@pytest.mark.parametrize(
    ("text", "last_line"),
    [
        ("import json\njson.loads('{')", "json.decoder.JSONDecodeError: "),
        ("class W:\n  def", "SyntaxError: "),
        ("import not_installed_here", "ModuleNotFoundError: No module named 'not_installed_here'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_an_import_that_raises_shows_the_users_own_traceback(
    text: str, last_line: str, folder: Path
) -> None:
    (folder / "broken.py").write_text(text)
    with pytest.raises(WorkloadError) as caught:
        load_workload("broken.py:W", folder)
    message = str(caught.value)
    assert "cannot be imported" in message
    assert message.splitlines()[-1].startswith(last_line)
    assert "broken.py" in message
    assert "importlib" not in message
    assert "ddp_sweep/workload.py" not in message
    assert len(message.splitlines()) < 15


def test_a_module_that_raises_shows_no_line_of_the_import_system(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "raising_module.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(WorkloadError) as caught:
        load_workload("raising_module:W")
    message = str(caught.value)
    assert "importlib" not in message
    assert message.splitlines()[-1] == "ZeroDivisionError: division by zero"


class _Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer: nn.Module = nn.Linear(3, 3)
        for _ in range(6):
            layer = nn.Sequential(layer)
        self.layers = layer

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layers(inputs[:, :2])  # type: ignore[no-any-return]


def test_the_users_line_is_not_lost_among_those_of_torch() -> None:
    with pytest.raises(RuntimeError) as caught:
        _Deep()(torch.ones(4, 3))
    text = user_traceback(caught.value)
    assert "self.layers(inputs[:, :2])" in text
    assert "torch/nn" not in text

    # Where nobody but torch has a line, what the error says is all that helps.
    with pytest.raises(RuntimeError) as inside:
        nn.Linear(3, 3)(torch.ones(4, 2))
    assert inside.value.__traceback__ is not None
    only_torch = inside.value.with_traceback(inside.value.__traceback__.tb_next)
    assert user_traceback(only_torch) == f"RuntimeError: {only_torch}"


def test_the_code_version_follows_commit_and_source(folder: Path) -> None:
    source = folder / "versioned.py"
    source.write_text("class W:\n    pass\n")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    factory = load_workload("versioned.py:W", folder)
    assert code_version(factory).endswith(f":{digest}")

    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    assert code_version(factory) == f"unknown:{digest}"
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "x"], check=True)
    commit = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert code_version(factory) == f"{commit[:12]}:{digest}"


def test_code_without_a_source_file_has_no_version() -> None:
    assert code_version(functools.partial(Digits, channels=8)) == "unknown:unknown"


def test_tasks_check_themselves() -> None:
    assert class_names(Multiclass(2, class_names=("cat", "dog"))) == ["cat", "dog"]
    assert class_names(Binary()) == ["0", "1"]
    with pytest.raises(ValueError, match="a label, 0 or 1"):
        Binary(positive=2)
    with pytest.raises(ValueError, match="at least 2 classes"):
        Multiclass(1)
    with pytest.raises(ValueError, match="3 names for 2 classes"):
        Binary(class_names=("a", "b", "c"))


CELL = """
import argparse
import functools
from dataclasses import dataclass
import torch

RATE = 3
DEPTH = 5
SIZES = {"hidden": [8, 16]}
WEIGHTS = torch.tensor([1.0, 2.0])
NAMES = {"cat", "dog", "fox"}
SMOOTHED = functools.partial(torch.nn.functional.cross_entropy, label_smoothing=0.25)
ARGUMENTS = argparse.Namespace(more_seeds=2)

class Plain:
    def __init__(self, rows): self.rows = rows

PLAIN = Plain(64)

@functools.cache
def data(): return [1, 2]

@dataclass
class Score:
    function: object

class Base:
    def rate(self): return RATE

class Mine(Base):
    width = 4
    metrics = [Score(lambda scores, targets: scores + 1)]
    def build_data(self): return data(), SIZES, self.DEPTH, "cat" in NAMES
    def loss(self, outputs, targets): return sum(one * 2 for one in outputs) * WEIGHTS
    @property
    def task(self): return "multiclass"
    @functools.cached_property
    def held(self): return SMOOTHED, PLAIN, ARGUMENTS

def run(): return 1

ADDITIONS = None
"""


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (("", ""), False),
        (("* 2", "* 3"), True),
        (("[1, 2]", "[1, 3]"), True),
        (("width = 4", "width = 5"), True),
        (("def loss", "def lost"), True),
        (("RATE = 3", "RATE = 4"), True),
        (("16", "32"), True),
        (("2.0", "3.0"), True),
        (('"fox"', '"hen"'), True),
        (("multiclass", "binary"), True),
        (("SMOOTHED, PLAIN", "PLAIN, SMOOTHED"), True),
        (("0.25", "0.5"), True),
        (("Plain(64)", "Plain(65)"), True),
        (("self.rows = rows", "self.rows = rows * 2"), True),
        (("more_seeds=2", "more_seeds=3"), False),
        (("scores + 1", "scores + 2"), True),
        (("return RATE", "return RATE + 1"), True),
        # What the class does not refer to: calls, other functions, an attribute's namesake.
        (("ADDITIONS = None", "ADDITIONS = 2"), False),
        (("return 1\n", "return 2\n"), False),
        (("DEPTH = 5", "DEPTH = 6"), False),
        (("import torch", "import torch  # the library"), False),
    ],
)
def test_a_class_without_a_source_file_is_known_by_its_code(
    change: tuple[str, str], differs: bool
) -> None:
    def version(text: str) -> str:
        cell: dict[str, Any] = {"__name__": "notebook"}
        exec(compile(text, "<cell>", "exec", dont_inherit=True), cell)
        return code_version(cell["Mine"])

    before = version(CELL)
    assert before.startswith("unknown:")
    assert before != "unknown:unknown"
    assert (version(CELL.replace(*change)) != before) is differs


SCRIPT = """
import sys
from ddp_sweep.workload import code_version

LAYERS = 2
def helper(): return LAYERS + 1
NAMES = ("cat", "dog")
PETS = {"cat", "dog", "fox", "hen", "cow"}

def make(rate):
    class Mine:
        def loss(self, outputs, targets): return outputs * helper() * rate
        def known(self, name): return name in NAMES or name in PETS or name in {"a", "b", "c"}
    return Mine

print(code_version(make(7)))
"""


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (("", ""), False),
        (("print(", "additions = 2; print("), False),
        (("outputs *", "outputs /"), True),
        (("LAYERS + 1", "LAYERS + 2"), True),
        (("LAYERS = 2", "LAYERS = 3"), True),
        (('"hen"', '"pig"'), True),
        (("make(7)", "make(8)"), True),
    ],
)
def test_a_class_of_the_script_that_runs_is_known_by_its_code(
    change: tuple[str, str], differs: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.py"

    def version(text: str) -> str:
        script.write_text(text)
        runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out.strip()

    assert (version(SCRIPT.replace(*change)) != version(SCRIPT)) is differs


def test_the_code_of_a_script_is_the_same_in_every_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    runs = [
        subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        for seed in ("1", "2")
    ]

    assert runs[0].stdout == runs[1].stdout
    assert not runs[0].stdout.strip().endswith("unknown")
