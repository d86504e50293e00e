"""What an exchange measures on links of a known speed, and on hosts without IPv4. No Ray."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from network_namespaces import INTERFACE, TwoHosts, require_namespaces

pytestmark = [pytest.mark.cluster, pytest.mark.ddp]

RANK = Path(__file__).parents[1] / "rank_of_exchange.py"
PORT = 29533


@pytest.fixture(scope="module")
def hosts() -> Iterator[TwoHosts]:
    require_namespaces()
    with TwoHosts(None) as two:
        yield two


def exchanged(hosts: TwoHosts, addresses: tuple[str, ...]) -> list[dict[str, Any]]:
    """What each of the two ranks measured."""
    meeting_point = f"[{addresses[0]}]:{PORT}" if ":" in addresses[0] else f"{addresses[0]}:{PORT}"
    processes = [
        hosts.start(
            rank, [sys.executable, str(RANK), addresses[rank], str(rank), "2", meeting_point]
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=150)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return [json.loads(one.splitlines()[-1]) for one in said]


@pytest.mark.parametrize("megabit", [20, 100])
def test_the_bandwidth_is_that_of_the_link(hosts: TwoHosts, megabit: int) -> None:
    hosts.set_rate(f"{megabit}mbit")
    first, second = exchanged(hosts, hosts.addresses)
    print(f"{megabit} Mbit/s: measured {first['bandwidth_bit_per_s'] / 1e6:.1f}")

    # Headers of the packets are not counted, and the first 64 kB pass at once.
    assert 0.5 * megabit < first["bandwidth_bit_per_s"] / 1e6 < 1.3 * megabit
    assert first == second  # both went by the slower of the two
    # The message grew until it took long enough to be timed.
    assert 8 * first["message_bytes"] > 0.2 * megabit * 1e6 * 0.25


def test_hosts_that_have_ipv6_alone_find_each_other(hosts: TwoHosts) -> None:
    hosts.set_rate(None)
    addresses = ("fd00:7::1", "fd00:7::2")
    change = 'ip -4 address flush dev "$0" && ip address add "$1/64" dev "$0" nodad'
    for host, address in enumerate(addresses):
        changing = hosts.start(host, ["sh", "-c", change, INTERFACE, address])
        said, _ = changing.communicate(timeout=20)
        assert changing.returncode == 0, said

    first, second = exchanged(hosts, addresses)
    assert first == second
    assert first["bandwidth_bit_per_s"] > 0
