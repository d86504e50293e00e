"""From what was found on a cluster to what is wrong with it, each with its remedy. Decides only.

A *problem* makes a sweep fail, hang, or mislead; a *warning* may do so, or costs time.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ddp_sweep.checkup.facts import ClusterFacts, ExchangeFacts, NodeFacts, Versions

__all__ = ["Gravity", "Problem", "find_problems"]

_MEBIBYTE, _GIBIBYTE = 2**20, 2**30
_SLOW_BIT_PER_S = 100e6
_MODEST_BIT_PER_S = 800e6
"""What is left of a gigabit where all is well."""
_LONG_LATENCY_S = 0.005
_CLOCK_WARNING_S, _CLOCK_PROBLEM_S = 1.0, 300.0
"""Object stores and access tokens refuse clocks that are off by minutes."""
_NOTABLE_LOAD = 0.25
_EXAMPLE_PARAMETERS = 10_000_000


class Gravity(StrEnum):
    """Whether something keeps a sweep from working, or may."""

    PROBLEM = "problem"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong."""

    kind: str
    gravity: Gravity
    message: str
    remedy: str
    node: str | None = None
    """The node it is on, where it is on one."""


Found = Iterator[Problem]


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


def _gpus(facts: ClusterFacts) -> Found:
    models = sorted({model for node in facts.nodes for model in node.gpu_models or ()})
    if len(models) > 1:
        yield Problem(
            kind="mixed_gpus",
            gravity=Gravity.WARNING,
            message=f"GPUs of {len(models)} models: {', '.join(models)}. The slowest sets the "
            "pace of each step, and runs on different ones cannot be compared.",
            remedy="Make a cluster of one model, or run each model's nodes as a cluster.",
        )
    for node in facts.nodes:
        present = len(node.gpu_models or ())
        if present and node.gpus < present:
            yield Problem(
                kind="idle_gpus",
                gravity=Gravity.WARNING,
                node=node.label,
                message=f"{present} GPUs are there, of which Ray offers {node.gpus:g}.",
                remedy=f"Start Ray there with --num-gpus={present}, if they are meant to be used.",
            )
        torch = node.versions.torch if node.versions else None
        if node.gpus and torch and torch.endswith("+cpu"):
            yield Problem(
                kind="torch_without_gpu",
                gravity=Gravity.PROBLEM,
                node=node.label,
                message=f"torch {torch} cannot use the GPUs of this node.",
                remedy="Install torch for your GPU with the command that pytorch.org gives.",
            )


def _interfaces(facts: ClusterFacts) -> Found:
    several = sum(node.can_work for node in facts.nodes) > 1
    for node in facts.nodes:
        used = node.interface
        if used is None:
            continue
        if several and _is_loopback(node.address):
            yield Problem(
                kind="loopback_address",
                gravity=Gravity.PROBLEM,
                node=node.label,
                message=f"Ray knows this node as {node.address}, which other nodes take for "
                "themselves.",
                remedy="Start Ray there with --node-ip-address set to an address that the other "
                "nodes reach.",
            )
        elif used.gloo is None:
            yield Problem(
                kind="no_interface",
                gravity=Gravity.PROBLEM if several else Gravity.WARNING,
                node=node.label,
                message=f"No network interface of this node has its address {node.address} (a "
                "container's bridge network does that), so gloo guesses which one to use.",
                remedy="Start the container with the host's network, Ray with --node-ip-address "
                "set to an address of this node, or set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME "
                "before Ray is started there.",
            )
        else:
            yield from _unfit_interface(node, several=several)


def _unfit_interface(node: NodeFacts, *, several: bool) -> Found:
    used = node.interface
    assert used is not None
    remedy = "Start Ray there without it (the interface of the node's address is used then)."
    if not used.addresses or used.is_up is False:
        what = "has no address" if not used.addresses else "is down"
        yield Problem(
            kind="unusable_interface",
            gravity=Gravity.PROBLEM,
            node=node.label,
            message=f"The interface {used.gloo} {what}; GLOO_SOCKET_IFNAME asks for it there.",
            remedy=remedy,
        )
    elif several and not _same(used.addresses[0], node.address):
        told = "GLOO_SOCKET_IFNAME asks for it there" if used.set_by_user else "and it is taken"
        yield Problem(
            kind="other_address",
            gravity=Gravity.WARNING,
            node=node.label,
            message=f"Ranks are reached at {used.addresses[0]}, the first address of the "
            f"interface {used.gloo}; Ray knows the node by {node.address} ({told}).",
            remedy=remedy
            if used.set_by_user
            else f"If other nodes do not reach it: start Ray with --node-ip-address="
            f"{used.addresses[0]}, or give {node.address} an interface of its own.",
        )


def _exchanges(facts: ClusterFacts) -> Found:
    for exchange in facts.exchanges:
        if exchange.failed_because is not None:
            yield Problem(
                kind="exchange_failed",
                gravity=Gravity.PROBLEM,
                message=f"{_between(exchange)} could not add up a number with {exchange.backend}: "
                f"{exchange.failed_because}",
                remedy="Open all ports between the nodes (gloo and NCCL choose theirs freely), "
                "and look at the interfaces above.",
            )
        elif exchange.nodes > 1:
            yield from _slow_exchange(exchange)


def _slow_exchange(exchange: ExchangeFacts) -> Found:
    rate, latency_s = exchange.bandwidth_bit_per_s, exchange.latency_s
    if rate is not None and rate < _MODEST_BIT_PER_S:
        # Two workers send each other all gradients once a step; more workers up to twice that.
        seconds = 32 * _EXAMPLE_PARAMETERS / rate
        yield Problem(
            kind="slow_network",
            gravity=Gravity.PROBLEM if rate < _SLOW_BIT_PER_S else Gravity.WARNING,
            message=f"{_between(exchange)} exchange {rate / 1e6:,.0f} Mbit/s with "
            f"{exchange.backend}: {seconds:.1f} s in every step of a model of "
            f"{_EXAMPLE_PARAMETERS / 1e6:.0f} million parameters.",
            remedy="Check that the interface above is the fast one, and that nothing limits it "
            "(VPN, wireless, instance type, zones). On a network like this expect more workers "
            "to pay off on one node only.",
        )
    if latency_s is not None and latency_s > _LONG_LATENCY_S:
        yield Problem(
            kind="long_latency",
            gravity=Gravity.WARNING,
            message=f"{_between(exchange)} need {1000 * latency_s:.1f} ms to add up one number "
            f"with {exchange.backend}, and do so in every step.",
            remedy="Keep all nodes in one zone, best in one placement group; look for other "
            "load on the nodes and on the network.",
        )


def _folder(facts: ClusterFacts) -> Found:
    folder = facts.folder
    if folder.unwritable_because is not None:
        yield Problem(
            kind="results_folder",
            gravity=Gravity.PROBLEM,
            message=f"Results cannot be written to {folder.path}: {folder.unwritable_because}",
            remedy="Give another folder with --output, or let the user that Ray runs as on this "
            "node write there.",
        )
    elif folder.free_bytes is not None and folder.free_bytes < _GIBIBYTE:
        little = folder.free_bytes < 100 * _MEBIBYTE
        yield Problem(
            kind="free_space",
            gravity=Gravity.PROBLEM if little else Gravity.WARNING,
            message=f"{folder.free_bytes / _MEBIBYTE:,.0f} MiB are free for results in "
            f"{folder.path}.",
            remedy="Make room, or give a folder on another disk with --output.",
        )


def _clocks(facts: ClusterFacts) -> Found:
    for node in facts.nodes:
        offset_s, doubt_s = node.clock_offset_s, node.clock_uncertainty_s
        if offset_s is None or doubt_s is None or abs(offset_s) - doubt_s <= _CLOCK_WARNING_S:
            continue
        far = abs(offset_s) - doubt_s > _CLOCK_PROBLEM_S
        yield Problem(
            kind="clock",
            gravity=Gravity.PROBLEM if far else Gravity.WARNING,
            node=node.label,
            message=f"Its clock is {abs(offset_s):,.1f} s {'ahead' if offset_s > 0 else 'behind'} "
            "of this node's. Times within a trial do not depend on it; logs and access to "
            "storage do.",
            remedy="Let chrony or systemd-timesyncd set the clocks of all nodes.",
        )


def _cores(facts: ClusterFacts) -> Found:
    local = facts.address is None
    for node in facts.nodes:
        if node.cores is None or not node.can_work:
            continue
        asked: float | None = None if local else node.cpus
        if local and facts.largest_world_size is not None:
            asked = facts.largest_world_size * (facts.cpus_per_worker or 1)
        if asked is not None and asked > node.cores:
            who = "The sweep asks for" if local else "Ray offers"
            yield Problem(
                kind="oversubscribed",
                gravity=Gravity.WARNING,
                node=node.label,
                message=f"{who} {asked:g} CPUs where {node.cores} physical cores can be used: "
                "workers would share cores, and such runs make no claim about a speedup.",
                remedy="Ask for fewer workers."
                if local
                else f"Start Ray there with --num-cpus={node.cores}.",
            )


def _load(facts: ClusterFacts) -> Found:
    for node in facts.nodes:
        if node.load is not None and node.load > _NOTABLE_LOAD:
            yield Problem(
                kind="other_load",
                gravity=Gravity.WARNING,
                node=node.label,
                message=f"{100 * node.load:.0f} % of its processors are busy with something else; "
                "whatever is timed there takes longer.",
                remedy="End what else runs there (`top` shows it), or wait for it.",
            )


def _shared_memory(facts: ClusterFacts) -> Found:
    for node in facts.nodes:
        size = node.shared_memory_bytes
        if size is not None and size < _GIBIBYTE and node.can_work:
            little = size < 256 * _MEBIBYTE
            yield Problem(
                kind="shared_memory",
                gravity=Gravity.PROBLEM if little else Gravity.WARNING,
                node=node.label,
                message=f"/dev/shm has {size / _MEBIBYTE:,.0f} MiB; data loaders hand batches "
                "over in it, and die when it is full.",
                remedy="Start the container with --shm-size=8g, or mount a larger tmpfs there.",
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
    if not facts.token and any(not _is_loopback(node.address) for node in facts.nodes):
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
    *(_silent, _python, _packages, _this_package, _gpus, _interfaces, _exchanges, _folder),
    *(_clocks, _cores, _load, _shared_memory, _ray, _nothing_to_work_on),
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


def _between(exchange: ExchangeFacts) -> str:
    return f"{exchange.workers} workers on {exchange.nodes} nodes"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _same(one: str, other: str) -> bool:
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    except ValueError:
        return one == other
