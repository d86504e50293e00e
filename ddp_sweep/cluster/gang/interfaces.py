"""Which network interface the ranks on a node talk through."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, MutableMapping
from typing import Any

import psutil

__all__ = ["choose_interface", "interface_of", "interface_settings"]

_GLOO, _NCCL = "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"


def interface_of(address: str, interfaces: Mapping[str, list[Any]] | None = None) -> str | None:
    """Name of this host's network interface that has an address; None where none has it.

    Args:
        address: IPv4 or IPv6, however it is written: ``fd00:0:0::1`` is ``fd00::1``.
        interfaces: As ``psutil.net_if_addrs`` has them; None: those of this host.
    """
    wanted = _parsed(address)
    if wanted is None:
        return None
    listed = psutil.net_if_addrs() if interfaces is None else interfaces
    for name, entries in listed.items():
        if any(_parsed(entry.address) == wanted for entry in entries):
            return name
    return None


def interface_settings(name: str) -> dict[str, str]:
    """Variables that make gloo and NCCL use an interface.

    NCCL takes a name as the beginning of one: ``eth1`` would also be ``eth10``; with ``=`` it is
    the name. It reads the variable when its first communicator is made, in the worker's own
    process, so that it is enough to set it there before the process group is; nothing of it
    depends on what Ray started the node with.
    """
    return {_GLOO: name, _NCCL: f"={name}"}


def choose_interface(address: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Let gloo and NCCL of this process use the interface that bears the Ray node's address.

    They otherwise take the one that the host's own name resolves to (gloo), or the first that is
    up (NCCL). Where the name is loopback, ranks on two nodes look for each other at 127.0.0.1.
    On a node that Ray knows as 127.0.0.1 the right interface *is* loopback.

    Args:
        address: What Ray knows the node by.
        environment: Of this process. What the user has set stays.
    """
    name = interface_of(address)
    if name is not None:
        for variable, value in interface_settings(name).items():
            environment.setdefault(variable, value)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        # Addresses of one link alone bear its name: fe80::1%eth0.
        return ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # the address of the hardware
        return None
