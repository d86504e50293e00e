"""What is wrong with a cluster: each fault by its name, and nothing where there is none."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from ddp_sweep.checkup import (
    ClusterFacts,
    ExchangeFacts,
    FolderFacts,
    Gravity,
    InterfaceFacts,
    NodeFacts,
    Versions,
    find_problems,
)
from ddp_sweep.checkup.facts import clock_offset
from ddp_sweep.report.checkup_view import checkup_to_json, print_checkup

HERE = Versions(
    python="3.11.7", ray="2.60.0", torch="2.13.0+cu126", ddp_sweep="0.1.0", source="abc"
)
LINK = InterfaceFacts(
    gloo="eth0",
    nccl="=eth0",
    set_by_user=False,
    addresses=("10.0.0.1", "fe80::1"),
    is_up=True,
    speed_bit_per_s=25e9,
)


def node(number: int, **changes: Any) -> NodeFacts:
    address = f"10.0.0.{number}"
    facts = NodeFacts(
        node_id=f"node-{number}",
        name=f"host-{number}",
        address=address,
        cpus=8,
        gpus=1,
        is_driver=number == 1,
        versions=HERE,
        interface=replace(LINK, addresses=(address, "fe80::1")),
        gpu_models=("NVIDIA H100",),
        clock_offset_s=0.0001,
        clock_uncertainty_s=0.0005,
        cores=8,
        hardware_threads=16,
        load=0.02,
        shared_memory_bytes=2**34,
    )
    return replace(facts, **changes)


def cluster(*nodes: NodeFacts, **changes: Any) -> ClusterFacts:
    facts = ClusterFacts(
        address="10.0.0.1:6379",
        here=HERE,
        nodes=nodes or (node(1), node(2)),
        exchanges=(exchange("gloo"), exchange("nccl")),
        folder=FolderFacts(path="/data/results", unwritable_because=None, free_bytes=2**40),
        dashboard=True,
        token=True,
    )
    return replace(facts, **changes)


def exchange(backend: str, **changes: Any) -> ExchangeFacts:
    facts = ExchangeFacts(
        backend=backend,
        workers=2,
        nodes=2,
        latency_s=0.0002,
        message_bytes=2**26,
        bandwidth_bit_per_s=20e9,
    )
    return replace(facts, **changes)


def local(**changes: Any) -> ClusterFacts:
    own = node(
        1, address="127.0.0.1", interface=replace(LINK, gloo="lo", addresses=("127.0.0.1",))
    )
    return cluster(own, **{"address": None, "exchanges": (exchange("gloo", nodes=1),), **changes})


def versions(**changes: str | None) -> NodeFacts:
    return node(2, versions=replace(HERE, **changes))


def on(**changes: Any) -> NodeFacts:
    return node(2, interface=replace(LINK, addresses=("10.0.0.2",), **changes))


FAULTS: list[tuple[str, Gravity, ClusterFacts]] = [
    ("node_silent", Gravity.PROBLEM, cluster(node(1), node(2, silent_because="No answer."))),
    ("python_version", Gravity.PROBLEM, cluster(node(1), versions(python="3.12.1"))),
    ("python_version", Gravity.WARNING, cluster(node(1), versions(python="3.11.9"))),
    ("ray_version", Gravity.PROBLEM, cluster(node(1), versions(ray="2.59.0"))),
    ("torch_version", Gravity.PROBLEM, cluster(node(1), versions(torch="2.12.0+cu126"))),
    ("torch_version", Gravity.PROBLEM, cluster(node(1), versions(torch=None))),
    ("torch_without_gpu", Gravity.PROBLEM, cluster(node(1), versions(torch="2.13.0+cpu"))),
    (
        "ddp_sweep_version",
        Gravity.PROBLEM,
        cluster(node(1), versions(ddp_sweep="0.0.9", source="old")),
    ),
    ("ddp_sweep_version", Gravity.PROBLEM, cluster(node(1), versions(source="edited"))),
    (
        "ddp_sweep_version",
        Gravity.PROBLEM,
        cluster(node(1), versions(ddp_sweep=None, source=None)),
    ),
    ("mixed_gpus", Gravity.WARNING, cluster(node(1), node(2, gpu_models=("NVIDIA A100",)))),
    ("idle_gpus", Gravity.WARNING, cluster(node(1), node(2, gpu_models=("NVIDIA H100",) * 4))),
    ("loopback_address", Gravity.PROBLEM, cluster(node(1, address="127.0.0.1"), node(2))),
    ("no_interface", Gravity.PROBLEM, cluster(node(1), on(gloo=None, nccl=None))),
    (
        "unusable_interface",
        Gravity.PROBLEM,
        cluster(node(1), node(2, interface=replace(LINK, gloo="ib0", addresses=()))),
    ),
    ("unusable_interface", Gravity.PROBLEM, cluster(node(1), on(is_up=False))),
    (
        "other_address",
        Gravity.WARNING,
        cluster(node(1), node(2, interface=replace(LINK, addresses=("192.168.3.2", "10.0.0.2")))),
    ),
    (
        "exchange_failed",
        Gravity.PROBLEM,
        cluster(exchanges=(exchange("gloo", failed_because="Connection refused"),)),
    ),
    (
        "slow_network",
        Gravity.PROBLEM,
        cluster(exchanges=(exchange("gloo", bandwidth_bit_per_s=47e6),)),
    ),
    (
        "slow_network",
        Gravity.WARNING,
        cluster(exchanges=(exchange("gloo", bandwidth_bit_per_s=300e6),)),
    ),
    ("long_latency", Gravity.WARNING, cluster(exchanges=(exchange("gloo", latency_s=0.02),))),
    (
        "results_folder",
        Gravity.PROBLEM,
        cluster(folder=FolderFacts(path="/x", unwritable_because="read-only", free_bytes=None)),
    ),
    (
        "free_space",
        Gravity.PROBLEM,
        cluster(folder=FolderFacts(path="/x", unwritable_because=None, free_bytes=2**20)),
    ),
    (
        "free_space",
        Gravity.WARNING,
        cluster(folder=FolderFacts(path="/x", unwritable_because=None, free_bytes=2**29)),
    ),
    ("clock", Gravity.WARNING, cluster(node(1), node(2, clock_offset_s=-12.0))),
    ("clock", Gravity.PROBLEM, cluster(node(1), node(2, clock_offset_s=4000.0))),
    ("oversubscribed", Gravity.WARNING, cluster(node(1), node(2, cpus=16))),
    ("oversubscribed", Gravity.WARNING, local(largest_world_size=16, cpus_per_worker=1)),
    ("other_load", Gravity.WARNING, cluster(node(1), node(2, load=0.6))),
    ("shared_memory", Gravity.PROBLEM, cluster(node(1), node(2, shared_memory_bytes=2**26))),
    ("shared_memory", Gravity.WARNING, cluster(node(1), node(2, shared_memory_bytes=2**29))),
    ("no_dashboard", Gravity.PROBLEM, cluster(dashboard=False)),
    ("no_token", Gravity.WARNING, cluster(token=False)),
    ("no_workers", Gravity.WARNING, cluster(node(1, cpus=0, gpus=0, gpu_models=()), exchanges=())),
]


@pytest.mark.parametrize(("kind", "gravity", "facts"), FAULTS, ids=lambda value: str(value)[:30])
def test_each_fault_is_named_alone_with_a_remedy(
    kind: str, gravity: Gravity, facts: ClusterFacts
) -> None:
    (problem,) = find_problems(facts)

    assert (problem.kind, problem.gravity) == (kind, gravity)
    assert len(problem.remedy) > 15
    assert problem.message.endswith((".", "read-only", "Connection refused"))
    on_second = [one for one in facts.nodes if one not in cluster().nodes]
    if problem.node is not None:
        assert [one.label for one in on_second] == [problem.node]
    page = printed(facts)
    assert f"{gravity}: " in page
    assert " ".join(problem.remedy.split()) in page


@pytest.mark.parametrize("facts", [cluster(), local(), local(token=False)])
def test_nothing_is_said_of_what_is_as_it_should_be(facts: ClusterFacts) -> None:
    assert find_problems(facts) == ()
    assert printed(facts).endswith("Nothing is wrong.")


@pytest.mark.parametrize(
    "facts",
    [
        # A head without workers: its build of torch, its cores and its /dev/shm do not matter.
        cluster(
            node(1, cpus=0, gpus=0, gpu_models=(), cores=2, shared_memory_bytes=2**26),
            versions(torch="2.13.0+cu128"),
            node(3),
        ),
        # An offset within its uncertainty is none.
        cluster(node(1), node(2, clock_offset_s=3.0, clock_uncertainty_s=2.5)),
        # Two workers of one host, however slow its memory.
        cluster(exchanges=(exchange("gloo", nodes=1, bandwidth_bit_per_s=10e6),)),
        cluster(node(1), node(2, gpu_models=None, load=None, cores=None)),
        # One node alone may be known as 127.0.0.1.
        local(),
    ],
)
def test_what_only_looks_like_a_fault_is_none(facts: ClusterFacts) -> None:
    assert find_problems(facts) == ()


def test_problems_come_before_warnings_and_decide_what_healthy_is() -> None:
    both = cluster(node(1), node(2, load=0.9), dashboard=False)
    warned = cluster(node(1), node(2, load=0.9))

    assert [one.kind for one in find_problems(both)] == ["no_dashboard", "other_load"]
    assert printed(both).endswith("1 problem and 1 warning.")
    assert printed(warned).endswith("No problem; 1 warning.")
    for facts, healthy in ((both, False), (warned, True), (cluster(), True)):
        found = checkup_to_json(facts, find_problems(facts))
        assert found["healthy"] is healthy
        assert json.loads(json.dumps(found, allow_nan=False)) == json.loads(json.dumps(found))


@pytest.mark.parametrize("ahead_s", [-7200.0, 0.0, 0.25, 3600.0])
def test_the_offset_of_a_clock_lies_within_what_is_said_of_it(ahead_s: float) -> None:
    # Ways there and back that take unequal times, as networks have them.
    trips, now = [], 1000.0
    for there_s, back_s in [(0.5, 0.01), (0.02, 0.3), (0.004, 0.001), (0.01, 0.01)]:
        trips.append((now, now + there_s + ahead_s, now + there_s + back_s))
        now += 2
    offset_s, doubt_s = clock_offset(trips)

    assert abs(offset_s - ahead_s) <= doubt_s + 1e-9
    assert doubt_s == pytest.approx(0.0025)


def test_a_node_that_says_nothing_is_shown_without_guesses() -> None:
    silent = NodeFacts(
        node_id="x",
        name="host-2",
        address="10.0.0.2",
        cpus=8,
        gpus=0,
        is_driver=False,
        silent_because="It does not answer within 60 s.",
    )
    page = printed(cluster(node(1), silent))

    assert "host-2 (10.0.0.2) no answer ? ? ? ? ?" in page
    assert "It does not answer within 60 s." in page


def printed(facts: ClusterFacts) -> str:
    text = io.StringIO()
    console = Console(file=text, width=400, color_system=None, highlight=False)
    print_checkup(facts, find_problems(facts), console)
    return " ".join(text.getvalue().split())
