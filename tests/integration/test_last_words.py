"""What a dead process of another node has left there is read by a task on that node."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from ddp_sweep.cluster.gang.last_words import collect_last_words
from ddp_sweep.cluster.gang.output import OutputFile
from ddp_sweep.cluster.gang.trial_log import Source, Unread

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def unread(node_id: str, file: Path, log: Path) -> Unread:
    # A name that only a process with that number would open: no other one has written there.
    out = OutputFile(stream="out", path=file, begin=0, ours=True)
    source = Source(rank=1, pid=os.getpid(), node_id=node_id, node="there", files=(out,))
    return Unread(source=source, positions=(len("sent\n"),), log=log)


def test_another_node_is_asked_and_one_that_is_gone_is_not_waited_for(
    cluster: Cluster, tmp_path: Path
) -> None:
    other = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    here = ray.get_runtime_context().get_node_id()
    [there] = [node["NodeID"] for node in ray.nodes() if node["NodeID"] != here]
    log, file = tmp_path / "a.log", tmp_path / "output"
    file.write_bytes(b"sent\nlast words\n")

    collect_last_words([unread(there, file, log)])
    assert log.read_text().endswith(" rank 1 | last words\n")
    assert "sent" not in log.read_text()
    # It was ours, and nobody reads it again.
    assert not file.exists()

    cluster.remove_node(other)
    file.write_bytes(b"sent\nlost words\n")
    collect_last_words([unread(there, file, log), unread(here, file, log)])
    lost, found = log.read_text().splitlines()[1:]
    assert lost == "# what rank 1 printed last cannot be read: its node or its files are gone"
    assert found.endswith(" rank 1 | lost words")
