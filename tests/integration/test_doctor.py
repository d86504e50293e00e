"""The doctor on this machine: a Ray of its own, and nothing left of it."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest
import ray
from command_line import call

import ddp_sweep

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

SWEEP = Path(__file__).parents[2] / "sweeps" / "quickstart.yaml"


def test_this_machine_is_looked_at_and_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    many = max(2, psutil.cpu_count() or 1) + 3
    words = ["--set", f"sweep.world_size=[1,{many}]", "--output", tmp_path / "a" / "b"]
    ended = call(monkeypatch, capsys, "doctor", SWEEP, *words, "--format", "json")

    assert ended.code == 0, ended
    facts = json.loads(ended.out)
    (node,) = facts["nodes"]
    assert facts["healthy"]
    assert node["cpus"] == many
    assert node["versions"] == facts["here"]
    assert facts["here"]["ddp_sweep"] == ddp_sweep.__version__
    assert facts["here"]["ray"] == ray.__version__
    (gloo,) = [one for one in facts["exchanges"] if one["backend"] == "gloo"]
    assert (gloo["workers"], gloo["nodes"], gloo["failed_because"]) == (2, 1, None)
    # More workers than this machine has cores for.
    assert "oversubscribed" in {one["kind"] for one in facts["problems"]}
    assert facts["folder"]["free_bytes"] > 0
    assert list(tmp_path.iterdir()) == []
    assert not ray.is_initialized()
    assert ended.err.startswith("... starting Ray on this machine\n")
