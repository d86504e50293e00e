"""A cluster that grows on demand: Ray's own autoscaler with nodes of make-believe."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_ranks
import psutil
import pytest
import ray
from fake_ranks import run, sweep_over
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from ddp_sweep.cluster.connection.capacity import connect
from ddp_sweep.cluster.connection.environment import quiet_driver
from ddp_sweep.live import Event, SweepOverview
from ddp_sweep.live.lines import PlainLines
from ddp_sweep.live.record import read_record
from ddp_sweep.results import ResultsFolder, load_results

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(900)]

ENDING_S = 60.0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def autoscaler_file(address: str) -> dict[str, Any]:
    """A head without CPUs, up to three nodes of one CPU, and two that never come."""
    return {
        "cluster_name": "growing",
        "max_workers": 5,
        "idle_timeout_minutes": 10,
        "upscaling_speed": 100.0,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            # All nodes share the address of this machine.
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        # What `ray up` fills in before the file reaches the head node.
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{
            name: []
            for name in (
                *("cluster_synced_files", "initialization_commands", "setup_commands"),
                *("head_setup_commands", "worker_setup_commands", "rsync_exclude"),
                *("head_start_ray_commands", "worker_start_ray_commands", "rsync_filter"),
            )
        },
        "file_mounts_sync_continuously": False,
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "small": {
                "resources": {"CPU": 1},
                "node_config": {},
                "min_workers": 1,
                "max_workers": 3,
            },
            # Too little memory to start: what a provider without room is like. The autoscaler
            # spares nodes with GPUs, so it asks for these only where the small ones do not do.
            "sold_out": {
                "resources": {"CPU": 2, "GPU": 1, "object_store_memory": 1},
                "node_config": {},
                "min_workers": 0,
                "max_workers": 2,
            },
        },
    }


def processes_of(folder: Path) -> list[psutil.Process]:
    """Processes of the Ray whose files lie in a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in word for word in process.info["cmdline"] or []):
            found.append(process)
    return found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # Short: the path of a socket lies in it.
    folder = Path("/tmp") / f"ddp-autoscaling-{os.getpid()}"
    port = free_port()
    address = f"127.0.0.1:{port}"
    file = tmp_path_factory.mktemp("autoscaler") / "cluster.yaml"
    file.write_text(json.dumps(autoscaler_file(address)))
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--node-ip-address", "127.0.0.1", f"--port={port}", "--num-cpus=0"),
        *(f"--temp-dir={folder}", f"--autoscaling-config={file}", "--include-dashboard=false"),
        *("--ray-client-server-port", str(free_port()), "--disable-usage-stats"),
    ]
    environment = os.environ | {
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        "RAY_AUTH_MODE": "disabled",
    }
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as head:
        try:
            wait_for_listener(port)
            yield address
        finally:
            head.terminate()
            head.wait(ENDING_S)
            left = processes_of(folder)
            for process in left:
                process.kill()
            psutil.wait_procs(left, timeout=ENDING_S)
            subprocess.run(["rm", "-rf", str(folder)], check=True)
            del os.environ["RAY_AUTH_MODE"]
    assert not processes_of(folder)


def wait_for_listener(port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail("the head node did not start")


@pytest.fixture(autouse=True)
def _fakes() -> Iterator[None]:
    ray.cloudpickle.register_pickle_by_value(fake_ranks)
    yield
    ray.cloudpickle.unregister_pickle_by_value(fake_ranks)


class Listener:
    """What a run says while workers are on their way."""

    def __init__(self, folder: Path) -> None:
        self.folder = ResultsFolder(folder)
        self.stages: list[str] = []
        self.recorded: list[str] = []
        self.lines: list[str] = []
        # No pause between two lines: what is said once a minute is said at once.
        self._now_s = 0.0
        self.plain = PlainLines(self.lines.append, clock=self._later)

    def _later(self) -> float:
        self._now_s += 3600
        return self._now_s

    def observe(self, event: Event, overview: SweepOverview) -> None:
        self.stages += [one.progress.stage for one in overview.running if one.progress]
        self.plain.observe(event, overview)
        record = read_record(self.folder)
        attempts = () if record is None else record.attempts
        self.recorded += [one.progress.stage for one in attempts if one.progress]

    def close(self) -> None:
        """Nothing is left behind."""


def test_a_trial_waits_for_nodes_and_says_which(address: str, tmp_path: Path) -> None:
    spec = sweep_over("none", world_sizes=(1, 3, 64), start_timeout_s=300, device="cpu")
    listener = Listener(tmp_path)
    with quiet_driver(), connect(address, spec) as cluster:
        assert cluster.capacity == 3 * 1 + 2 * 2
        assert sum(node.cpus for node in cluster.nodes) <= 3
        outcome = run(spec, tmp_path, listener)

    trials = load_results(tmp_path).trials.set_index("world_size")
    assert outcome.exit_code == 0, trials[["status", "status_detail"]].to_string()
    assert dict(trials["status"]) == {1: "succeeded", 3: "succeeded", 64: "infeasible"}
    assert trials.loc[64, "status_detail"] == "64 workers asked for, at most 7 can run at once"
    waits = [stage for stage in listener.stages if stage.startswith("waiting for ")]
    assert waits
    assert all("more node" in wait and "; gives up at " in wait for wait in waits)
    assert any("waiting for " in line for line in listener.lines)


def test_a_cluster_that_stays_smaller_runs_what_it_holds(address: str, tmp_path: Path) -> None:
    spec = sweep_over("none", world_sizes=(1, 5), start_timeout_s=60, device="cpu")
    listener = Listener(tmp_path)
    with quiet_driver(), connect(address, spec):
        outcome = run(spec, tmp_path, listener)

    trials = load_results(tmp_path).trials
    assert outcome.exit_code == 3, trials[["status", "status_detail"]].to_string()
    assert re.search(r"the cluster still lacks \d more nodes? with 2 CPUs", outcome.message)
    assert "The same command runs them once there is room" in outcome.message
    final = trials[trials["final"]].set_index("world_size")
    assert dict(final["status"]) == {1: "succeeded", 5: "infeasible"}
    waited = trials[trials["status"] == "timed_out"]
    assert len(waited) == 1
    assert "did not start within 60 s" in waited["status_detail"].iloc[0]
    assert any(
        re.match(r"waiting for \d more nodes? with 2 CPUs", one) for one in listener.recorded
    )
