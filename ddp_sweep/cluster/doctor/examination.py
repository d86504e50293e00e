"""Looks at a cluster as a whole: every node, the exchange between them, and the results folder.

Nothing here waits without an end: a node that does not answer is a finding.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from ray.util.state import list_nodes

from ddp_sweep.checkup import (
    ClusterFacts,
    FolderFacts,
    InterfaceFacts,
    NodeFacts,
    Versions,
)
from ddp_sweep.checkup.facts import clock_offset
from ddp_sweep.cluster.connection.capacity import join
from ddp_sweep.cluster.connection.environment import quiet_driver
from ddp_sweep.cluster.connection.presence import living_nodes
from ddp_sweep.cluster.doctor.exchanging import measure_exchanges
from ddp_sweep.cluster.doctor.node_probe import SENT_ALONG, NodeProbe, installed_versions

__all__ = ["Asked", "examine"]

_ANSWER_S = 60.0
"""For a node to start a process and to answer; a busy one takes ten seconds."""
_CLOCK_ANSWER_S = 10.0
_ROUND_TRIPS = 10
_DASHBOARD_S = 15


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the cluster is looked at for."""

    folder: Path
    """Where results would be written."""
    largest_world_size: int | None = None
    """Of a sweep; None where none was named."""
    cpus_per_worker: int = 1
    use_gpus: bool = True
    """Whether workers would compute on GPUs, where there are any."""


def examine(address: str | None, asked: Asked, say: Callable[[str], None]) -> ClusterFacts:
    """Look at everything that a sweep depends on.

    Args:
        address: As of ``ddp-sweep run``.
        asked: What for.
        say: Is told what is being done.

    Raises:
        AddressError: The address is one of the Ray client.
        CapacityError: There is no such cluster.
    """
    say(f"connecting to Ray at {address}" if address else "starting Ray on this machine")
    cpus = None
    if address is None and asked.largest_world_size is not None:
        cpus = asked.largest_world_size * asked.cpus_per_worker
    with quiet_driver(), join(address, local_cpus=cpus), ExitStack() as stack:
        stack.enter_context(_sent_along())
        here = ray.get_runtime_context().get_node_id()
        entries = sorted(living_nodes(), key=_this_first)
        say(f"looking at {len(entries)} node{'s' if len(entries) != 1 else ''}")
        probes = {entry["NodeID"]: _probe_on(entry["NodeID"]) for entry in entries}
        for probe in probes.values():
            stack.callback(ray.kill, probe)
        nodes = _look(entries, probes)
        folder = _try_folder(asked.folder, probes[here], say)
        exchanges = measure_exchanges(
            [node for node in nodes if node.silent_because is None],
            use_gpus=asked.use_gpus,
            say=say,
        )
        say("asking Ray's dashboard")
        return ClusterFacts(
            address=address,
            here=Versions(**installed_versions()),
            nodes=nodes,
            exchanges=exchanges,
            folder=folder,
            dashboard=_dashboard_answers(),
            token=is_token_auth_enabled(),
            largest_world_size=asked.largest_world_size,
            cpus_per_worker=asked.cpus_per_worker,
        )


def _this_first(entry: Mapping[str, Any]) -> tuple[bool, str, str]:
    """Key that puts nodes into an order that stays: this one, then by name."""
    is_other = entry["NodeID"] != ray.get_runtime_context().get_node_id()
    return is_other, entry["NodeManagerHostname"], entry["NodeManagerAddress"]


@contextmanager
def _sent_along() -> Iterator[None]:
    """What runs on the nodes travels as it is."""
    modules = [sys.modules[name] for name in SENT_ALONG]
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for module in modules:
            ray.cloudpickle.unregister_pickle_by_value(module)  # type: ignore[no-untyped-call]


def _probe_on(node_id: str) -> Any:  # noqa: ANN401 - a handle of an actor
    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return ray.remote(NodeProbe).options(num_cpus=0, scheduling_strategy=there).remote()


def _look(
    entries: Sequence[Mapping[str, Any]], probes: Mapping[str, Any]
) -> tuple[NodeFacts, ...]:
    """Look at all nodes at the same time, once all of them are there."""
    started = _answers({node_id: probe.tell_time.remote() for node_id, probe in probes.items()})
    there = [entry for entry in entries if not isinstance(started[entry["NodeID"]], str)]
    clocks = {entry["NodeID"]: _clock(probes[entry["NodeID"]]) for entry in there}
    looks = _answers(
        {
            entry["NodeID"]: probes[entry["NodeID"]].look.remote(entry["NodeManagerAddress"])
            for entry in there
        }
    )
    failed = {node_id: answer for node_id, answer in started.items() if isinstance(answer, str)}
    return tuple(
        _node(entry, looks | failed, clocks.get(entry["NodeID"], (None, None)))
        for entry in entries
    )


def _answers(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Each answer by node, or a sentence on why there is none."""
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=_ANSWER_S)
    return {node_id: _answer(reference) for node_id, reference in asked.items()}


def _answer(reference: Any) -> Any:  # noqa: ANN401 - whatever the node says
    try:
        return ray.get(reference, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return f"It does not answer within {_ANSWER_S:.0f} s."
    except ray.exceptions.RayError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return f"Nothing can be run on it: {lines[-1].strip() if lines else type(error).__name__}"


def _clock(probe: Any) -> tuple[float | None, float | None]:  # noqa: ANN401 - a handle
    trips = []
    try:
        for _ in range(_ROUND_TRIPS):
            before = time.time()
            there = ray.get(probe.tell_time.remote(), timeout=_CLOCK_ANSWER_S)
            trips.append((before, there, time.time()))
    except ray.exceptions.RayError:
        return None, None
    return clock_offset(trips)


def _node(
    entry: Mapping[str, Any],
    looks: Mapping[str, Any],
    clock: tuple[float | None, float | None],
) -> NodeFacts:
    resources, look = entry["Resources"], looks[entry["NodeID"]]
    known: dict[str, Any] = {
        "node_id": entry["NodeID"],
        "address": entry["NodeManagerAddress"],
        "cpus": resources.get("CPU", 0.0),
        "gpus": resources.get("GPU", 0.0),
        "is_driver": entry["NodeID"] == ray.get_runtime_context().get_node_id(),
    }
    if isinstance(look, str):
        return NodeFacts(**known, name=entry.get("NodeManagerHostname"), silent_because=look)
    models = look["gpu_models"]
    interface = look["interface"]
    return NodeFacts(
        **known,
        **{key: look[key] for key in _TAKEN_OVER},
        versions=Versions(**look["versions"]),
        interface=InterfaceFacts(**interface | {"addresses": tuple(interface["addresses"])}),
        gpu_models=None if models is None else tuple(models),
        clock_offset_s=clock[0],
        clock_uncertainty_s=clock[1],
    )


_TAKEN_OVER = ("name", "load", "cores", "hardware_threads", "shared_memory_bytes")


def _try_folder(folder: Path, probe: Any, say: Callable[[str], None]) -> FolderFacts:  # noqa: ANN401
    """Write a file where results are written from, and look whether it arrives where it should."""
    path = folder.absolute()
    say(f"writing to {path}")
    facts: dict[str, Any] = {"path": str(path), "free_bytes": None, "unwritable_because": None}
    written = _answer_within(probe.write_in.remote(str(path)))
    if isinstance(written, str):
        return FolderFacts(**facts | {"unwritable_because": written})
    facts["free_bytes"] = written.get("free_bytes")
    if "error" in written:
        facts["unwritable_because"] = written["error"]
    elif not Path(written["file"]).exists():
        facts["unwritable_because"] = (
            "what Ray writes there on this node is not seen from this shell (one of the two is "
            "in a container?)"
        )
    _answer_within(probe.remove.remote(written))
    return FolderFacts(**facts)


def _answer_within(reference: Any) -> Any:  # noqa: ANN401 - whatever the node says
    return _answers({"": reference})[""]


def _dashboard_answers() -> bool:
    """Whether what Ray Train asks when it cleans up would be answered."""
    try:
        # The address, since several clusters may have nodes on one host.
        address = ray.get_runtime_context().gcs_address
        list_nodes(address, limit=1, timeout=_DASHBOARD_S, raise_on_missing_output=False)
    except Exception:  # noqa: BLE001 - of several libraries below; each means no
        return False
    return True
