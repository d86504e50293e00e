"""Two hosts on one machine: network namespaces with a slow link between them.

Needs root, ``ip`` and ``tc`` (Debian: ``apt-get install iproute2``). Both ends of the link are
named eth0, and gloo has to be told to use it: GLOO_SOCKET_IFNAME=eth0.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from types import TracebackType

import pytest

__all__ = ["TwoHosts", "require_namespaces"]

INTERFACE = "eth0"


def require_namespaces() -> None:
    """Skip where there are no namespaces to be had; fail where the tests of a change must run."""
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if os.geteuid() != 0:
        missing.append("root")
    if not missing:
        tried = subprocess.run(
            ["ip", "netns", "exec", "none", "true"], capture_output=True, text=True, check=False
        )
        if "not permitted" in tried.stderr.lower():
            missing.append("permission to make network namespaces")
    if missing:
        reason = f"two hosts on one machine need {', '.join(missing)}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


class TwoHosts:
    """Two network namespaces, each with one end of a link; removed at the end.

    Args:
        rate: Of the link in each direction, as ``tc`` writes it: ``50mbit``; None for no limit.
        subnet: First three numbers of the addresses.
    """

    def __init__(self, rate: str | None, subnet: str = "10.213.7") -> None:
        self.rate = rate
        self.names = tuple(f"ddp-{os.getpid()}-{host}" for host in (0, 1))
        self.addresses = tuple(f"{subnet}.{host + 1}" for host in (0, 1))

    def __enter__(self) -> TwoHosts:
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def start(self, host: int, command: Sequence[str]) -> subprocess.Popen[str]:
        """Start a program on one of the hosts."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.names[host], *command],
            env=os.environ | {"GLOO_SOCKET_IFNAME": INTERFACE, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def set_rate(self, rate: str | None) -> None:
        """Make the link slower or faster, also while it is used."""
        for name in self.names:
            if rate is None:
                _run("tc", "-n", name, "qdisc", "del", "dev", INTERFACE, "root", check=False)
            else:
                shape = ["tbf", "rate", rate, "burst", "64k", "latency", "50ms"]
                device = ["qdisc", "replace", "dev", INTERFACE, "root"]
                _run("tc", "-n", name, *device, *shape)

    def _make(self) -> None:
        ends = [f"d{os.getpid()}{host}"[-15:] for host in (0, 1)]
        for name in self.names:
            _run("ip", "netns", "add", name)
        _run("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for end, name, address in zip(ends, self.names, self.addresses, strict=True):
            _run("ip", "link", "set", end, "netns", name)
            _run("ip", "-n", name, "link", "set", end, "name", INTERFACE)
            _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", INTERFACE)
            _run("ip", "-n", name, "link", "set", INTERFACE, "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")
        self.set_rate(self.rate)

    def _remove(self) -> None:
        for name in self.names:
            _run("ip", "netns", "del", name, check=False)


def _run(*command: str, check: bool = True) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
