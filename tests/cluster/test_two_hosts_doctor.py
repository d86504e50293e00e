"""The doctor on two hosts: nothing wrong, and faults of a known kind, each by its name."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from network_namespaces import INTERFACE, require_namespaces
from two_ray_nodes import HEAD, OTHER, Ended, RayNodes, two_ray_nodes

import ddp_sweep

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PACKAGE = Path(ddp_sweep.__file__).parent
UNAVOIDABLE = {"other_load", "no_token"}
"""Warnings that this machine gives by itself: both hosts are one, and others work on it."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    require_namespaces()
    with two_ray_nodes() as both:
        yield both


def doctor(nodes: RayNodes, *options: str | Path) -> Ended:
    words = ["ddp-sweep", "doctor", "--address", nodes.address, *map(str, options)]
    # Not in the project's folder, which Ray would put before what is installed.
    return nodes.run(HEAD, words, folder=nodes.scratch)


def facts_of(ended: Ended) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(ended.out)
    return facts


def kinds(facts: dict[str, Any], gravity: str) -> set[str]:
    return {one["kind"] for one in facts["problems"] if one["gravity"] == gravity}


@contextmanager
def another_package(nodes: RayNodes, tmp_path: Path) -> Iterator[None]:
    """The second host has another version of this package."""
    other = tmp_path / "ddp_sweep"
    shutil.copytree(PACKAGE, other, ignore=shutil.ignore_patterns("__pycache__"))
    own = other / "__init__.py"
    version = f'__version__ = "{ddp_sweep.__version__}"'
    own.write_text(own.read_text().replace(version, '__version__ = "0.0.7"'))
    mount = ["mount", "--bind", str(other), str(PACKAGE)]
    assert nodes.run(OTHER, mount, folder=Path("/")).code == 0
    try:
        yield
    finally:
        nodes.hosts.unmount(OTHER, PACKAGE)


@contextmanager
def no_package(nodes: RayNodes) -> Iterator[None]:
    """The second host has no version of this package, wherever one may be installed."""
    look = "import importlib.util as u; print(getattr(u.find_spec('ddp_sweep'), 'origin', None))"
    hidden: list[Path] = []
    try:
        while True:
            found = nodes.run(OTHER, [sys.executable, "-c", look], folder=nodes.scratch)
            assert found.code == 0 and len(hidden) < 5, found
            if found.out.strip() == "None":
                break
            hidden.append(Path(found.out.strip()).parent)
            nodes.hosts.mount_empty(OTHER, hidden[-1])
        yield
    finally:
        for folder in hidden:
            nodes.hosts.unmount(OTHER, folder)


def test_where_nothing_is_wrong_the_doctor_says_so(nodes: RayNodes, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    ended = doctor(nodes, "--output", folder, "--format", "json")

    assert ended.code == 0, ended
    facts = facts_of(ended)
    assert facts["healthy"]
    assert kinds(facts, "problem") == set()
    assert kinds(facts, "warning") <= UNAVOIDABLE
    assert [node["address"] for node in facts["nodes"]] == list(nodes.hosts.addresses)
    assert [node["name"] for node in facts["nodes"]] == list(nodes.hosts.names)
    for node in facts["nodes"]:
        assert node["interface"]["gloo"] == INTERFACE
        assert node["interface"]["nccl"] == f"={INTERFACE}"
        assert node["versions"] == facts["here"]
        # Both hosts have the clock of this machine.
        assert abs(node["clock_offset_s"]) <= node["clock_uncertainty_s"]
    (exchange,) = facts["exchanges"]
    assert (exchange["backend"], exchange["workers"], exchange["nodes"]) == ("gloo", 2, 2)
    assert not folder.exists()  # what it made it took away
    assert "... exchanging with gloo: 2 workers on 2 nodes" in ended.err
    print(f"no limit: {exchange['bandwidth_bit_per_s'] / 1e6:,.0f} Mbit/s")


def test_a_slow_link_is_measured_and_named(nodes: RayNodes, tmp_path: Path) -> None:
    nodes.hosts.set_rate("50mbit")
    try:
        ended = doctor(nodes, "--output", tmp_path, "--format", "json")
    finally:
        nodes.hosts.set_rate(None)

    assert ended.code == 1, ended
    facts = facts_of(ended)
    assert kinds(facts, "problem") == {"slow_network"}
    (exchange,) = facts["exchanges"]
    print(f"50 Mbit/s: {exchange['bandwidth_bit_per_s'] / 1e6:.1f} Mbit/s")
    assert 25e6 < exchange["bandwidth_bit_per_s"] < 100e6


def test_another_version_and_a_folder_that_cannot_be_written_are_named(
    nodes: RayNodes, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    nodes.hosts.mount_empty(HEAD, folder, "-o", "ro")
    try:
        with another_package(nodes, tmp_path):
            ended = doctor(nodes, "--output", folder)
    finally:
        nodes.hosts.unmount(HEAD, folder)

    assert ended.code == 1, ended
    text = " ".join(ended.out.split())
    here = ddp_sweep.__version__
    other, address = nodes.hosts.names[OTHER], nodes.hosts.addresses[OTHER]
    assert f"problem: {other} ({address}): ddp_sweep 0.0.7 there, {here} here." in text
    assert f"problem: Results cannot be written to {folder}" in text
    assert "Read-only file system" in text
    assert "What to do: Give another folder with --output" in text
    assert ended.out.rstrip().splitlines()[-1].startswith("2 problems")


def test_a_node_without_the_package_is_named_and_not_tripped_over(
    nodes: RayNodes, tmp_path: Path
) -> None:
    with no_package(nodes):
        ended = doctor(nodes, "--output", tmp_path, "--format", "json")

    assert ended.code == 1, ended
    facts = facts_of(ended)
    (problem,) = [one for one in facts["problems"] if one["kind"] == "ddp_sweep_version"]
    assert problem["message"] == "ddp_sweep is not installed there."
    assert nodes.hosts.names[OTHER] in problem["node"]
    # Without it there is no worker to exchange anything with.
    assert kinds(facts, "problem") == {"ddp_sweep_version", "exchange_failed"}


def test_a_node_that_is_gone_is_a_problem_and_no_hang(nodes: RayNodes, tmp_path: Path) -> None:
    nodes.hosts.cut_power(OTHER)
    ended = doctor(nodes, "--output", tmp_path, "--format", "json")

    facts = facts_of(ended)
    silent = [node["name"] for node in facts["nodes"] if node["silent_because"] is not None]
    # Until Ray has given it up it is listed, and does not answer.
    assert silent in ([nodes.hosts.names[OTHER]], [])
    assert kinds(facts, "problem") == ({"node_silent"} if silent else set())
    assert ended.code == (1 if silent else 0), ended
