"""Which files are sent to a cluster: checked by importing them in a Python that sees no others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import _dir_travel

from ddp_sweep.cluster.submission.shipment import plan_shipment
from ddp_sweep.errors import SubmissionError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A workload that imports in every way, beside files that it does not."""
    files = {
        "sweeps/own.yaml": "name: own\n",
        "code/model.py": "import json, layers.blocks\nfrom extras import one\n\nVALUE = one.ONE\n",
        "code/layers/__init__.py": "from layers.shared import SHARED\n",
        "code/layers/blocks.py": "from . import deep\nfrom .deep import inner\n",
        "code/layers/shared.py": "SHARED = 1\n",
        "code/layers/deep/__init__.py": "",
        "code/layers/deep/inner.py": "def late():\n    import lazily\n",
        "code/lazily.py": "import numpy\n",
        "code/extras/one.py": "from layers import *\n\nONE = 1\n",
        "code/extras/two.py": "raise ImportError('must not travel')\n",
        "code/unused.py": "this is no Python\n",
        "code/data.csv": "1,2\n",
        "code/layers/weights.bin": "0\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def shipped(project: Path, *extra: Path, workload: str = "../code/model.py:X") -> dict[str, Path]:
    sweeps = project / "sweeps"
    plan = plan_shipment(sweeps / "own.yaml", workload, sweeps, extra)
    assert plan.sweep_file.endswith("own.yaml")
    return {target: source for source, target in plan.files}


def test_the_workload_and_what_it_imports_travel_and_nothing_else(project: Path) -> None:
    sent = {str(source.relative_to(project)) for source in shipped(project).values()}

    assert sent == {
        "sweeps/own.yaml",
        "code/model.py",
        *("code/layers/__init__.py", "code/layers/blocks.py", "code/layers/shared.py"),
        *("code/layers/deep/__init__.py", "code/layers/deep/inner.py"),
        *("code/lazily.py", "code/extras/one.py"),
    }


def test_what_was_sent_can_be_imported_where_nothing_else_is(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    there = tmp_path_factory.mktemp("there")
    sweeps = project / "sweeps"
    shipment = plan_shipment(sweeps / "own.yaml", "../code/model.py:X", sweeps)
    shipment.lay_out(there)
    workload = (there / shipment.sweep_file).parent / "../code/model.py"
    script = (
        "import sys, ddp_sweep; from pathlib import Path; place = Path(sys.argv[1]).resolve();"
        "sys.path.append(str(place.parent)); exec(place.read_text());"
        "from layers.deep import inner; inner.late();"
        "print(ddp_sweep.__file__, *(m.__file__ for n, m in sys.modules.items() "
        "if n.split('.')[0] in ('layers', 'extras', 'lazily')), sep='\\n')"
    )
    # Isolated: no PYTHONPATH, no current folder; then only the folder that was sent.
    run = subprocess.run(
        [
            *(sys.executable, "-I", "-c"),
            f"import sys; sys.path.insert(0, {str(there)!r}); {script}",
            str(workload),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    places = [line for line in run.stdout.splitlines() if line != "None"]
    assert len(places) > 5
    assert all(Path(place).is_relative_to(there) for place in places), places


def test_data_travels_only_when_it_is_asked_for(project: Path) -> None:
    assert not [target for target in shipped(project) if target.endswith((".csv", ".bin"))]

    sent = shipped(project, project / "code" / "data.csv", project / "code" / "layers")

    assert sent["sweep/code/data.csv"] == project / "code" / "data.csv"
    assert sent["sweep/code/layers/weights.bin"] == project / "code" / "layers" / "weights.bin"


def test_what_a_folder_keeps_from_git_travels_all_the_same(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By Ray's own packing, which leaves out what such files name."""
    data = project / "data"
    for name in ("rows.csv", "deep/more.csv", ".git/config", "deep/.git"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("1,2\n")
    for name in (".gitignore", "deep/.rayignore"):
        (data / name).write_text("*.csv\n")
    sweeps = project / "sweeps"
    there = tmp_path_factory.mktemp("there")
    plan_shipment(sweeps / "own.yaml", "../code/model.py:X", sweeps, [data]).lay_out(there)
    packed: list[Path] = []
    _dir_travel(there, [], packed.append, include_gitignore=True)

    arrives = there / "sweep" / "data"
    files = [file for file in packed if file.is_file() and file.is_relative_to(arrives)]
    sent = {str(file.relative_to(arrives)) for file in files}
    assert sent == {"rows.csv", "deep/more.csv"}


def test_folders_that_ray_leaves_out_are_refused_by_name(project: Path) -> None:
    (project / "data" / "venv").mkdir(parents=True)
    (project / "data" / "venv" / "rows.csv").write_text("1,2\n")

    with pytest.raises(SubmissionError, match=r"venv/rows\.csv: Ray sends no folder .* venv"):
        shipped(project, project / "data")


def test_paths_between_the_files_stay_as_they_are(project: Path) -> None:
    targets = shipped(project)

    assert "sweep/sweeps/own.yaml" in targets
    assert "sweep/code/model.py" in targets


def test_a_bundled_workload_needs_no_file_of_the_user(project: Path) -> None:
    assert list(shipped(project, workload="ddp_sweep.workloads.digits:Digits")) == [
        "sweep/own.yaml"
    ]


def test_a_module_on_the_path_travels_and_an_installed_one_does_not(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = project / "library" / "mymodels"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "net.py").write_text("from mymodels.parts import P\n")
    (package / "parts.py").write_text("P = 1\n")
    monkeypatch.syspath_prepend(project / "library")

    sent = shipped(project, workload="mymodels.net:Net")
    assert set(sent) == {
        "sweep/own.yaml",
        *("mymodels/__init__.py", "mymodels/net.py", "mymodels/parts.py"),
    }
    assert list(shipped(project, workload="sklearn.datasets:load_digits")) == ["sweep/own.yaml"]


@pytest.mark.parametrize(
    ("workload", "extra", "words"),
    [
        ("../code/missing.py:X", None, "there is no file"),
        ("../code/unused.py:X", None, "is not valid Python"),
        ("../code/model.py:X", "nowhere", "there is no such file or folder"),
    ],
)
def test_what_cannot_be_sent_is_named(
    project: Path, workload: str, extra: str | None, words: str
) -> None:
    with pytest.raises(SubmissionError, match=words):
        shipped(project, *([project / extra] if extra else []), workload=workload)


def test_too_much_is_refused_before_it_is_sent(project: Path) -> None:
    large = project / "large.bin"
    with large.open("wb") as file:
        file.truncate(300 * 1024**2)  # a hole: takes no room

    with pytest.raises(SubmissionError, match=r"300 MiB would be sent, the largest .*large\.bin"):
        shipped(project, large)
