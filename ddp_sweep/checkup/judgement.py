"""From what was found on a cluster to what is wrong with it, each with its remedy. Decides only.

A *problem* makes a sweep fail, hang, or mislead; a *warning* may do so, or costs time.
"""

from __future__ import annotations

from collections.abc import Callable

from ddp_sweep.checkup import machines, network, software
from ddp_sweep.checkup.facts import ClusterFacts
from ddp_sweep.checkup.network import is_loopback
from ddp_sweep.checkup.problem import Found, Gravity, Problem

__all__ = ["find_problems"]


def find_problems(facts: ClusterFacts) -> tuple[Problem, ...]:
    """Everything that is wrong, problems before warnings."""
    found = [problem for rule in _RULES for problem in rule(facts)]
    return tuple(sorted(found, key=lambda one: one.gravity is Gravity.WARNING))


def _silent(facts: ClusterFacts) -> Found:
    for node in facts.nodes:
        if node.silent_because is not None:
            yield Problem(
                kind="node_silent",
                gravity=Gravity.PROBLEM,
                node=node.label,
                message=node.silent_because,
                remedy="Look at `ray status` and at the host; if it is gone, end Ray on it and "
                "start it again, or leave it out of the cluster.",
            )


def _ray(facts: ClusterFacts) -> Found:
    if not facts.dashboard:
        yield Problem(
            kind="no_dashboard",
            gravity=Gravity.PROBLEM,
            message="Ray's dashboard does not answer. Ray Train asks it what to clean up after a "
            "run that was killed; without it CPUs and GPUs stay reserved.",
            remedy="python -m pip install 'ray[default]' on the head node, and start Ray there "
            "with --include-dashboard=true.",
        )
    if not facts.token and any(not is_loopback(node.address) for node in facts.nodes):
        yield Problem(
            kind="no_token",
            gravity=Gravity.WARNING,
            message="Ray does not ask who connects: whoever reaches its ports can run programs "
            "on every node.",
            remedy="Make a token with `ray get-auth-token --generate`, copy ~/.ray/auth_token to "
            "every node, and start Ray with RAY_AUTH_MODE=token; or keep the ports closed to "
            "others.",
        )


def _nothing_to_work_on(facts: ClusterFacts) -> Found:
    if not any(node.can_work for node in facts.nodes):
        yield Problem(
            kind="no_workers",
            gravity=Gravity.WARNING,
            message="No node offers a CPU or a GPU now, so no exchange was measured.",
            remedy="If the cluster grows on demand, ask again while a sweep runs; else start Ray "
            "on a node for the workers.",
        )


_RULES: tuple[Callable[[ClusterFacts], Found], ...] = (
    _silent,
    *software.RULES,
    *network.RULES,
    *machines.RULES,
    *(_ray, _nothing_to_work_on),
)
