"""Two hosts on one machine: a network, processes, mounts and a name of their own each.

Needs root, ``ip`` and ``tc`` (Debian: ``apt-get install iproute2``), and ``unshare``, ``nsenter``
and ``setpriv`` of util-linux. Both ends of the link between the hosts are named eth0. Whatever
runs on a host ends with it, as by a power cut, since it has a process namespace of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil
import pytest

__all__ = ["INTERFACE", "TwoHosts", "require_namespaces"]

INTERFACE = "eth0"

_TOOLS = ("ip", "tc", "unshare", "nsenter", "setpriv")
_CONFIGURATION = Path("/etc/netns")
"""Files in NAME/ stand in for those of /etc in what ``ip netns exec NAME`` starts."""
_START_S = 20.0
# The first process of a host: waits for the children of others, as an init does, and for no end.
_INIT = 'hostname "$0"; sleep infinity & wait'


def require_namespaces() -> None:
    """Skip where there are no namespaces to be had; fail where the tests of a change must run."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
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
    """Two hosts, each with one end of a link; removed at the end with all that runs on them.

    Args:
        rate: Of the link in each direction, as ``tc`` writes it: ``50mbit``; None for no limit.
        subnet: First three numbers of the addresses.
        own_name_is_loopback: Whether a host resolves its own name to 127.0.0.1, as Debian's
            installer and many images have it.
    """

    def __init__(
        self,
        rate: str | None,
        subnet: str = "10.213.7",
        *,
        own_name_is_loopback: bool = False,
    ) -> None:
        self.rate = rate
        self.names = tuple(f"ddp-{os.getpid()}-{host}" for host in (0, 1))
        self.addresses = tuple(f"{subnet}.{host + 1}" for host in (0, 1))
        self._own_name_is_loopback = own_name_is_loopback
        self._inits: dict[int, psutil.Process] = {}
        self._keepers: dict[int, subprocess.Popen[bytes]] = {}

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

    def command(self, host: int, words: Sequence[str], folder: Path | None = None) -> list[str]:
        """What runs a program on one of the hosts."""
        into = ["nsenter", f"--target={self._inits[host].pid}"]
        into += ["--net", "--mount", "--uts", "--pid", "--"]
        # A change of the mounts takes the working directory along to the root.
        there = ["sh", "-c", 'cd "$0" && exec "$@"', str(folder or Path.cwd())]
        return [*into, *there, *words]

    def start(
        self,
        host: int,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start a program on one of the hosts."""
        return subprocess.Popen(
            self.command(host, command, folder),
            env=os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {}),
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

    def mount_empty(self, host: int, folder: Path, *options: str) -> None:
        """Give a host an empty folder of its own in place of one that both see."""
        mount = ["mount", "-t", "tmpfs", *options, "none", str(folder)]
        _run(*self.command(host, mount, Path("/")))

    def unmount(self, host: int, folder: Path) -> None:
        """Let a host see again what `mount_empty` hid."""
        _run(*self.command(host, ["umount", str(folder)], Path("/")))

    def cut_power(self, host: int) -> None:
        """End everything that runs on a host at once."""
        self._keepers[host].kill()
        self._keepers[host].wait()
        with contextlib.suppress(psutil.NoSuchProcess):
            self._inits[host].kill()
        # The kernel ends what is left of a process namespace before its first process is gone.
        psutil.wait_procs([self._inits[host]], timeout=_START_S)

    def switch_on(self, host: int) -> None:
        """Start a host on which nothing runs yet."""
        name = self.names[host]
        self._keepers[host] = keeper = subprocess.Popen(
            [
                *("ip", "netns", "exec", name),
                # Tests that are killed can't clean up; what runs on the host ends with them.
                *("setpriv", "--pdeathsig", "KILL"),
                *("unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"),
                *("sh", "-c", _INIT, name),
            ]
        )
        deadline = time.monotonic() + _START_S
        while True:
            assert keeper.poll() is None and time.monotonic() < deadline
            # Two of them once the host is named: a shell that waits and a process that sleeps.
            below = psutil.Process(keeper.pid).children(recursive=True)
            if len(below) == 2 and below[1].name() == "sleep":
                self._inits[host] = below[0]
                return
            time.sleep(0.02)

    def _make(self) -> None:
        ends = [f"d{os.getpid()}{host}"[-15:] for host in (0, 1)]
        for name in self.names:
            _run("ip", "netns", "add", name)
            loopback = f"127.0.0.1 localhost {name if self._own_name_is_loopback else ''}"
            named = map(" ".join, zip(self.addresses, self.names, strict=True))
            hosts = [loopback, *(line for line in named if self._named(line, name))]
            (_CONFIGURATION / name).mkdir(parents=True)
            (_CONFIGURATION / name / "hosts").write_text("\n".join([*hosts, ""]))
            # Nobody outside is asked for a name: here nobody listens, which is known at once.
            (_CONFIGURATION / name / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        _run("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for end, name, address in zip(ends, self.names, self.addresses, strict=True):
            _run("ip", "link", "set", end, "netns", name)
            _run("ip", "-n", name, "link", "set", end, "name", INTERFACE)
            _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", INTERFACE)
            _run("ip", "-n", name, "link", "set", INTERFACE, "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")
            # Where nothing leads outside, programs take loopback for their own address.
            _run("ip", "-n", name, "route", "add", "default", "dev", INTERFACE)
        self.set_rate(self.rate)
        for host in (0, 1):
            self.switch_on(host)

    def _named(self, line: str, name: str) -> bool:
        """Whether a host's list of names has this line."""
        return not (self._own_name_is_loopback and line.endswith(name))

    def _remove(self) -> None:
        for host in list(self._inits):
            self.cut_power(host)
        for name in self.names:
            _run("ip", "netns", "del", name, check=False)
            shutil.rmtree(_CONFIGURATION / name, ignore_errors=True)
        with contextlib.suppress(OSError):
            _CONFIGURATION.rmdir()  # where it holds nothing of others


def _run(*command: str, check: bool = True) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
