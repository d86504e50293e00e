"""Between the nodes: interfaces, addresses, and what an exchange measured."""

from __future__ import annotations

import ipaddress

from ddp_sweep.checkup.facts import ClusterFacts, ExchangeFacts, NodeFacts
from ddp_sweep.checkup.problem import Found, Gravity, Problem

__all__ = ["RULES", "is_loopback"]

_SLOW_BIT_PER_S = 100e6
_MODEST_BIT_PER_S = 800e6
"""What is left of a gigabit where all is well."""
_LONG_LATENCY_S = 0.005
_EXAMPLE_PARAMETERS = 10_000_000


def _interfaces(facts: ClusterFacts) -> Found:
    several = sum(node.can_work for node in facts.nodes) > 1
    for node in facts.nodes:
        used = node.interface
        if used is None:
            continue
        if several and is_loopback(node.address):
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


def _between(exchange: ExchangeFacts) -> str:
    return f"{exchange.workers} workers on {exchange.nodes} nodes"


def is_loopback(address: str) -> bool:
    """Whether only the host itself reaches that address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _same(one: str, other: str) -> bool:
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    except ValueError:
        return one == other


RULES = (_interfaces, _exchanges)
