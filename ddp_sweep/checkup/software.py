"""What is installed on the nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ddp_sweep.checkup.facts import ClusterFacts, NodeFacts, Versions
from ddp_sweep.checkup.problem import Found, Gravity, Problem

__all__ = ["RULES"]


def _python(facts: ClusterFacts) -> Found:
    own = facts.here.python
    for node, version in _differing(facts, lambda versions: versions.python):
        same_minor = _minor(version) == _minor(own)
        yield Problem(
            kind="python_version",
            gravity=Gravity.WARNING if same_minor else Gravity.PROBLEM,
            node=node.label,
            message=f"Python {version} there, {own} here.",
            remedy="Use the same Python on every node; what one pickles another must read.",
        )


def _packages(facts: ClusterFacts) -> Found:
    for name, version_of in _PACKAGES.items():
        own = version_of(facts.here)
        for node, version in _differing(facts, version_of):
            there = f"{name} {version}" if version else f"no {name}"
            yield Problem(
                kind=f"{name}_version",
                gravity=Gravity.PROBLEM,
                node=node.label,
                message=f"{there} there, {own} here.",
                remedy=f"Install the same there: python -m pip install '{name}=={own}'"
                f"{', then start Ray on it again' if name == 'ray' else ''}.",
            )


_PACKAGES: Mapping[str, Callable[[Versions], str | None]] = {
    "ray": lambda versions: versions.ray,
    # Nodes with and without GPUs may have different builds of one version.
    "torch": lambda versions: _public(versions.torch),
}


def _this_package(facts: ClusterFacts) -> Found:
    install = (
        "Install the project's present state there: python -m pip install FOLDER_OF_THE_PROJECT."
    )
    for node in facts.nodes:
        there, here = node.versions, facts.here
        if there is None or there.source == here.source:
            continue
        if there.ddp_sweep is None:
            message = "ddp_sweep is not installed there."
        elif there.ddp_sweep != here.ddp_sweep:
            message = f"ddp_sweep {there.ddp_sweep} there, {here.ddp_sweep} here."
        else:
            message = f"ddp_sweep {there.ddp_sweep} there as here, but with other source files."
        yield Problem(
            kind="ddp_sweep_version",
            gravity=Gravity.PROBLEM,
            node=node.label,
            message=message,
            remedy=install,
        )


def _differing(
    facts: ClusterFacts, version_of: Callable[[Versions], str | None]
) -> Iterator[tuple[NodeFacts, str | None]]:
    """Nodes on which something has another version than where the sweep is started."""
    own = version_of(facts.here)
    for node in facts.nodes:
        if node.versions is not None and version_of(node.versions) != own:
            yield node, version_of(node.versions)


def _public(version: str | None) -> str | None:
    """Without what tells builds for different devices apart: ``2.13.0+cpu`` is ``2.13.0``."""
    return version and version.partition("+")[0]


def _minor(version: str | None) -> list[str]:
    return (version or "").split(".")[:2]


RULES = (_python, _packages, _this_package)
