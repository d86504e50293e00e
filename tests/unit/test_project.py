"""The project's own rules: lint, types, the direction of imports, where torch and Ray may be."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import ddp_sweep

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ddp_sweep"

# Section 3 of the design. A component imports itself and what stands below it, nothing else.
LAYERS = [
    {"api", "cli"},
    {"cluster", "report"},
    {"reporter", "analysis", "training", "live", "checkup"},
    {"plan", "results", "workload"},
    {"spec", "schema"},
    {"errors", "shown_text"},
]
# What the ranks hand to the reporter is plain data; it stands beside the code that measures it.
SIDEWAYS = {("ddp_sweep.reporter", "ddp_sweep.training.messages")}
# Loaded by name, never imported: examples of what a user writes.
WORKLOADS = "workloads"
MAY_IMPORT_RAY = ("ddp_sweep.cluster",)
MAY_IMPORT_TORCH = (
    "ddp_sweep.training",
    "ddp_sweep.workloads",
    "ddp_sweep.workload",
    "ddp_sweep.cluster.gang",
)
LIGHT = (
    "analysis",
    "report",
    "live",
    "checkup",
    "reporter",
    "results",
    "spec",
    "plan",
    "schema",
    "errors",
)


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imported(module: str) -> Iterator[str]:
    """Modules that a file imports anywhere: at its top, in functions, or for its types."""
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            for alias in node.names:
                yield home_of(node.module, alias.name)


def home_of(module: str, name: str) -> str:
    """The module that ``from module import name`` reaches, through the lazy package as well."""
    if f"{module}.{name}" in FILES:
        return f"{module}.{name}"
    if module == "ddp_sweep" and name in ddp_sweep._HOME_OF:
        return ddp_sweep._HOME_OF[name]
    return module


def component(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def is_in(module: str, places: tuple[str, ...]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def layer(name: str) -> int:
    return next(depth for depth, components in enumerate(LAYERS) if name in components)


@pytest.mark.parametrize("module", [name for name in FILES if component(name)])
def test_imports_point_down(module: str) -> None:
    own = component(module)
    targets = {
        component(target)
        for target in imported(module)
        if target in FILES and (module, target) not in SIDEWAYS
    } - {"", own}

    if own == WORKLOADS:
        assert targets <= {"workload", "errors"}
    else:
        upward = {target for target in targets if layer(target) <= layer(own)}
        assert not upward, f"{module} is on the layer of {upward} or below it"


@pytest.mark.parametrize(
    ("library", "allowed"), [("ray", MAY_IMPORT_RAY), ("torch", MAY_IMPORT_TORCH)]
)
def test_heavy_libraries_stay_where_they_belong(library: str, allowed: tuple[str, ...]) -> None:
    users = {
        module
        for module in FILES
        if any(target.split(".")[0] == library for target in imported(module))
    }

    assert users, "nothing found: does the test still look in the right place?"
    assert not {module for module in users if not is_in(module, allowed)}


@pytest.mark.parametrize("name", LIGHT)
def test_light_components_reach_neither_torch_nor_ray(name: str) -> None:
    pending = {module for module in FILES if component(module) == name}
    reached = {"ddp_sweep"}  # it resolves its names on first use, and itself has the version only
    while pending:
        module = pending.pop()
        reached.add(module)
        pending |= {target for target in imported(module) if target in FILES} - reached
    libraries = {target.split(".")[0] for module in reached for target in imported(module)}

    assert not libraries & {"torch", "ray"}


def test_the_public_names_exist_and_are_resolved_on_first_use() -> None:
    for name in ddp_sweep.__all__:
        assert getattr(ddp_sweep, name) is not None, name
    assert dir(ddp_sweep) == sorted(ddp_sweep.__all__)
    with pytest.raises(AttributeError, match="no attribute 'rnk'"):
        _ = ddp_sweep.rnk

    script = "import sys, ddp_sweep; print([m for m in sys.modules if m.startswith('ddp_sweep.')])"
    assert run_python("-c", script).stdout.strip() == "[]"


def test_the_version_is_the_one_of_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["version"] == ddp_sweep.__version__


@pytest.mark.parametrize("arguments", [["check", "."], ["format", "--check", "."]])
def test_ruff_has_nothing_to_say(arguments: list[str]) -> None:
    check = run_python("-m", "ruff", *arguments)

    assert check.returncode == 0, check.stdout + check.stderr


def test_mypy_has_nothing_to_say() -> None:
    check = run_python("-m", "mypy")

    assert check.returncode == 0, check.stdout + check.stderr


def test_the_package_ships_its_types() -> None:
    assert (PACKAGE / "py.typed").is_file()


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
