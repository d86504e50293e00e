"""Looks at a cluster before a sweep is run there: ``python -m`` this module, on the head node.

What it needs itself may be what is missing, so it begins with the standard library alone. Ends
with 0, or with 3 and a message that names each node, what it lacks and what to do.
"""

from __future__ import annotations

import argparse
import glob
import importlib.util
import logging
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddp_sweep.spec import SweepSpec

__all__ = ["REQUIRED", "NodeFindings", "findings_here", "main", "paths_to_read", "problems"]

REQUIRED = {
    "aiohttp": "aiohttp",
    "altair": "altair",
    "jinja2": "jinja2",
    "numpy": "numpy",
    "pandas": "pandas",
    "platformdirs": "platformdirs",
    "psutil": "psutil",
    "pyarrow": "pyarrow",
    "pydantic": "pydantic",
    "ray": "ray",
    "requests": "requests",
    "rich": "rich",
    "ruamel.yaml": "ruamel.yaml",
    "scikit-learn": "sklearn",
    "scipy": "scipy",
    "torch": "torch",
    "typer": "typer",
    "vl-convert-python": "vl_convert",
}
"""Packages that this one needs, and the module by which each is known."""
_LEAST_PYTHON = (3, 11)
_EXIT_CODE = 3
_NODE_DEADLINE_S = 300.0
"""The first process on a node waits until what was sent is unpacked there."""

NodeFindings = Mapping[str, Any]
"""What a node says of itself: ``python`` (its path), ``version``, packages that are ``missing``,
paths that are ``absent``."""


def main(arguments: Sequence[str]) -> int:
    """Check every node, and print what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m ddp_sweep.cluster.submission.checks")
    parser.add_argument("sweep", type=Path, help="the sweep file")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE")
    asked = parser.parse_args(arguments)
    head = {"the head node": findings_here(())}
    code, found = _EXIT_CODE, problems(head, {})
    if not found:
        code, found = _problems_of_nodes(asked.sweep, asked.set)
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    return code if found else 0


def findings_here(paths: Sequence[str]) -> NodeFindings:
    """What the node that this runs on has and lacks.

    Args:
        paths: Files, folders or patterns of files, absolute.
    """
    return {
        "python": sys.executable,
        "version": platform.python_version(),
        "missing": [name for name, module in REQUIRED.items() if not _can_import(module)],
        "absent": [path for path in paths if not _can_read(path)],
    }


def problems(nodes: Mapping[str, NodeFindings], paths: Mapping[str, str]) -> list[str]:
    """What is wrong, each in a sentence with its remedy.

    Args:
        nodes: What each said, by what users know it by.
        paths: What each path is, by the path: ``workload_options.files``; empty for the folder
            of the sweep file.
    """
    return [
        *_wrong_python(nodes),
        *_missing_packages(nodes),
        *(_absent(path, paths, nodes) for path in paths if _nodes_without(path, nodes)),
    ]


def paths_to_read(spec: SweepSpec) -> dict[str, str]:
    """Every path that the options of a sweep's workload name, and which option it was."""
    from ddp_sweep.spec.axes import OPTION_PREFIX
    from ddp_sweep.workload import load_workload, path_options

    factory = load_workload(spec.workload, spec.base_dir)
    values = [*spec.workload_options.items()]
    for axis, swept in spec.sweep.option_axes.items():
        values += [(axis.removeprefix(OPTION_PREFIX), value) for value in swept]
    return {
        str(path): f"workload_options.{name}"
        for name, value in values
        for path in path_options(factory, {name: value}, spec.base_dir).get(name, ())
    }


def _wrong_python(nodes: Mapping[str, NodeFindings]) -> list[str]:
    least = ".".join(map(str, _LEAST_PYTHON))
    return [
        f"{node} has Python {said['version']} ({said['python']}); needed: {least} or newer. Start "
        "Ray there from an environment with that Python, its bin folder first in PATH"
        for node, said in nodes.items()
        if tuple(int(part) for part in said["version"].split(".")[:2]) < _LEAST_PYTHON
    ]


def _missing_packages(nodes: Mapping[str, NodeFindings]) -> list[str]:
    return [
        f"{node} lacks {', '.join(said['missing'])} in {said['python']}. Install ddp_sweep's "
        f"requirements there, in a clone of it: {said['python']} -m pip install ."
        for node, said in nodes.items()
        if said["missing"]
    ]


def _nodes_without(path: str, nodes: Mapping[str, NodeFindings]) -> list[str]:
    return [node for node, said in nodes.items() if path in said["absent"]]


def _absent(path: str, paths: Mapping[str, str], nodes: Mapping[str, NodeFindings]) -> str:
    option = paths[path]
    lacking = _nodes_without(path, nodes)
    where = "every node" if len(lacking) == len(nodes) else ", ".join(lacking)
    if not option:
        return (
            f"{where}: what was sent is not at {path}, where the head node has it. Start Ray with "
            "the same --temp-dir on every node"
        )
    sent = next((folder for folder, what in paths.items() if not what), None)
    if sent is not None and Path(path).is_relative_to(sent):
        path = f"{Path(path).relative_to(sent)}, relative to the sweep file,"
    return (
        f"{option}: {path} is not there, or cannot be read, on {where}. Data is never uploaded "
        "unasked. Put it on a disk that all nodes share, or at the same place on each, and name "
        f"that place: --set {option}=/absolute/path. A small file is sent along with --ship FILE"
    )


def _can_import(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _can_read(path: str) -> bool:
    if glob.has_magic(path):
        return bool(glob.glob(path, recursive=True))  # noqa: PTH207 - absolute, as a text
    return os.access(path, os.R_OK)


def _problems_of_nodes(sweep: Path, overrides: Sequence[str]) -> tuple[int, list[str]]:
    """Ask every node that is there now; one that joins later is not asked.

    Returns:
        The exit code if there are problems, and the problems.
    """
    from ddp_sweep.errors import DdpSweepError
    from ddp_sweep.spec import load_spec

    try:
        spec = load_spec(sweep, overrides)
        paths = {str(sweep.absolute().parent): "", **paths_to_read(spec)}
    except DdpSweepError as error:
        return error.exit_code, [str(error)]
    return _EXIT_CODE, problems(_ask_every_node(list(paths)), paths)


def _ask_every_node(paths: Sequence[str]) -> dict[str, NodeFindings]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        ask = ray.remote(num_cpus=0, max_retries=1)(findings_here)
        asked = {
            ask.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(paths): _name_of(node)
            for node in nodes
        }
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_NODE_DEADLINE_S)
        for one in silent:
            print(f"warning: {asked[one]} gave no answer; it was not checked", file=sys.stderr)
        return {asked[one]: ray.get(one) for one in answered}
    finally:
        ray.shutdown()


def _name_of(node: Mapping[str, Any]) -> str:
    host, short_id = node["NodeManagerHostname"], node["NodeID"][:6]
    return f"node {node['NodeManagerAddress']} ({host}, id {short_id}...)"


if __name__ == "__main__":
    # The same functions as every node imports, not those of a module called __main__.
    from ddp_sweep.cluster.submission import checks

    sys.exit(checks.main(sys.argv[1:]))
