"""README's cluster section, followed word for word on two hosts; only addresses are replaced."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from network_namespaces import require_namespaces
from two_ray_nodes import HEAD, OTHER, Ended, RayNodes, two_ray_nodes

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

PROJECT = Path(__file__).parents[2]
SECTION = "## On a cluster"
ADDRESS, TOKEN = "10.0.0.1", "TOKEN"
_SWEEP_S = 700.0


@pytest.fixture
def nodes() -> Iterator[RayNodes]:
    require_namespaces()
    with two_ray_nodes(start=False) as both:
        yield both


def commands() -> list[str]:
    """What the section shows to be typed, a text for each box."""
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    _, _, rest = readme.partition(f"\n{SECTION}\n")
    section = rest.partition("\n## ")[0]
    return [box.partition("\n```")[0] for box in section.split("```sh\n")[1:]]


def typed(
    nodes: RayNodes, host: int, text: str, *, home: str, folder: Path | None = None
) -> Ended:
    """Type commands into a shell of a host, as a user whose home folder is there alone."""
    own = nodes.scratch / home
    own.mkdir(exist_ok=True)
    # Where Ray would use /tmp, which these two hosts share.
    environment = {"HOME": str(own), "RAY_TMPDIR": str(nodes.scratch / f"tmp{host}")}
    (nodes.scratch / f"tmp{host}").mkdir(exist_ok=True)
    words = ["bash", "-euo", "pipefail", "-c", text]
    return nodes.run(
        host, words, environment=environment, folder=folder or own, timeout_s=_SWEEP_S
    )


def test_the_cluster_section_works_as_it_is_written(nodes: RayNodes) -> None:
    head, other, user = commands()[:3]
    assert "ray start --head" in head
    assert f"ray start --address={ADDRESS}:6379" in other
    assert f"--address http://{ADDRESS}:8265" in user

    def filled(text: str) -> str:
        return text.replace(ADDRESS, nodes.hosts.addresses[HEAD]).replace(TOKEN, token)

    started = typed(nodes, HEAD, head, home="head")
    assert started.code == 0, started
    printed = re.match(r"[0-9a-f]{64}", started.out)
    assert printed is not None, started
    token = printed.group()
    joined = typed(nodes, OTHER, filled(other), home="other")
    assert joined.code == 0, joined

    # From the second host, as from a laptop: it reaches the head, and has nothing but the project.
    laptop = nodes.scratch / "laptop"
    (laptop / "sweeps").mkdir(parents=True)
    shutil.copy(PROJECT / "sweeps" / "quickstart.yaml", laptop / "sweeps")
    submitted = typed(nodes, OTHER, filled(user), home="laptop")
    assert submitted.code == 0, submitted
    assert "Speedup in training time" in submitted.out, submitted
    print(submitted.out)

    trials = pd.read_parquet(laptop / "results" / "quickstart" / "trials")
    assert list(trials["status"]) == ["succeeded"] * 20
    kept = nodes.scratch / "head" / "ddp-sweep-results" / "quickstart"
    assert set(pd.read_parquet(kept / "trials")["trial_id"]) == set(trials["trial_id"])

    # The doctor, where the section's other command is typed: on a node, with its token.
    doctor = typed(nodes, HEAD, "ddp-sweep doctor --address auto", home="head")
    assert doctor.code == 0, doctor
    assert "on 2 nodes" in doctor.out
    assert "asked for" in " ".join(doctor.out.split())
    assert "does not ask who connects" not in doctor.out
    without = typed(nodes, OTHER, f"ddp-sweep doctor --address {nodes.address}", home="stranger")
    assert without.code == 3, without
    assert "RAY_AUTH_TOKEN" in without.err
    assert "Traceback" not in without.err
