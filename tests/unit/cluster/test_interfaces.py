"""Which network interface workers use: the one with the address Ray knows the node by."""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from types import SimpleNamespace

import psutil
import pytest

from ddp_sweep.cluster.gang.interfaces import choose_interface, interface_of, interface_settings


def host(**addresses: list[str]) -> dict[str, list[SimpleNamespace]]:
    """Interfaces as psutil lists them; the hardware's address comes along."""
    return {
        name: [SimpleNamespace(address="02:42:ac:11:00:02"), *map(entry, listed)]
        for name, listed in addresses.items()
    }


def entry(address: str) -> SimpleNamespace:
    return SimpleNamespace(address=address)


HOST = host(
    lo=["127.0.0.1", "::1"],
    docker0=["172.17.0.1"],
    eth0=["10.0.0.5", "192.168.1.5", "fd00::5", "fe80::42:acff:fe11:2%eth0"],
    eth1=["10.0.1.5", "fe80::42:acff:fe11:3%eth1"],
)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("127.0.0.1", "lo"),
        ("::1", "lo"),
        ("10.0.0.5", "eth0"),
        ("192.168.1.5", "eth0"),  # the second address of one interface
        ("10.0.1.5", "eth1"),
        ("fd00::5", "eth0"),
        ("fd00:0:0:0:0:0:0:5", "eth0"),
        ("FD00::5", "eth0"),
        ("fe80::42:acff:fe11:3", "eth1"),
        ("fe80::42:acff:fe11:3%eth1", "eth1"),
        ("10.0.0.50", None),
        ("02:42:ac:11:00:02", None),
        ("head.example.org", None),
        ("", None),
    ],
)
def test_the_interface_is_the_one_with_the_address(address: str, name: str | None) -> None:
    assert interface_of(address, HOST) == name


def test_every_address_of_this_machine_leads_to_an_interface_that_bears_it() -> None:
    if shutil.which("ip") is None:  # without iproute2, what is the same on all machines
        listed = "1: lo inet 127.0.0.1/8"
    else:
        asked = ["ip", "-o", "address"]
        listed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    for name, network in (line.split()[1:4:2] for line in listed.splitlines()):
        address = str(ipaddress.ip_interface(network).ip)
        assert interface_of(address) == name.partition("@")[0]


def test_gloo_and_nccl_are_told_the_same_interface_and_nccl_its_whole_name() -> None:
    environment: dict[str, str] = {}
    choose_interface("127.0.0.1", environment)
    loopback = interface_of("127.0.0.1")

    assert environment == {
        "GLOO_SOCKET_IFNAME": loopback,
        # Without =, eth1 would stand for eth10 as well.
        "NCCL_SOCKET_IFNAME": f"={loopback}",
    }
    assert loopback in psutil.net_if_addrs()
    assert interface_settings("eth1")["NCCL_SOCKET_IFNAME"] == "=eth1"


@pytest.mark.parametrize("own", ["GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"])
def test_what_the_user_has_set_stays(own: str) -> None:
    environment = {own: "ib0"}
    choose_interface("127.0.0.1", environment)

    assert environment[own] == "ib0"
    assert len(environment) == 2


def test_an_address_that_is_not_of_this_host_sets_nothing() -> None:
    environment: dict[str, str] = {}
    choose_interface("203.0.113.77", environment)

    assert environment == {}
