"""The cluster file is one that Ray and EC2 accept; nothing here starts Ray or asks AWS."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from copy import deepcopy
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from cluster_file import as_ray_prepares_it, faults
from ray.autoscaler._private.aws.config import DEFAULT_RAY_IAM_ROLE
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
FILE = ROOT / "cluster.yaml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
Config = dict[str, Any]


def load(text: str) -> Config:
    loaded: Config = YAML(typ="safe", pure=True).load(text)
    return loaded


def of_own_hosts() -> Config:
    """The block at its end, taken out by the very command that stands there."""
    text = FILE.read_text(encoding="utf-8")
    [command] = re.findall(r"^# +(sed .* cluster\.yaml) >", text, re.MULTILINE)
    taken = subprocess.run(
        ["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return load(taken.stdout)


CONFIGS: dict[str, Callable[[], Config]] = {
    "aws": lambda: load(FILE.read_text(encoding="utf-8")),
    "local": of_own_hosts,
}


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> Config:
    return CONFIGS[request.param]()


def test_the_autoscaler_accepts_it(config: Config) -> None:
    prepared = as_ray_prepares_it(config)

    assert prepared["provider"]["type"] in CONFIGS
    assert prepared["head_node_type"] in prepared["available_node_types"]
    assert prepared["max_workers"] > 0


def test_the_autoscaler_refuses_an_unknown_section(config: Config) -> None:
    with pytest.raises(Exception, match="idle_timeout_hours"):
        as_ray_prepares_it({**config, "idle_timeout_hours": 1})


def test_nothing_is_wrong_with_what_the_autoscaler_does_not_check(config: Config) -> None:
    assert faults(config, PROJECT) == []


def test_the_two_kinds_of_cluster_differ_in_where_their_hosts_come_from_only() -> None:
    aws, local = CONFIGS["aws"](), CONFIGS["local"]()

    assert local["file_mounts"] == aws["file_mounts"]
    assert local["docker"]["run_options"] == aws["docker"]["run_options"]
    assert local["docker"]["image"] == aws["docker"]["worker_image"]


# Where in the AWS file, what instead, and what the check must say of it. Ray accepts all of them.
SLIPS: dict[str, tuple[tuple[str | int, ...], object, str]] = {
    "type": (
        ("available_node_types", "gpu_worker", "node_config", "InstanceType"),
        "g5.2xlagre",
        "EC2 has no instance type g5.2xlagre",
    ),
    "cpu_worker": (
        ("available_node_types", "gpu_worker", "node_config", "InstanceType"),
        "m5.xlarge",
        "m5.xlarge has no GPU",
    ),
    "key": (
        ("available_node_types", "gpu_worker", "node_config", "InstanceTypo"),
        "x",
        "InstanceTypo",
    ),
    "disk": (
        ("available_node_types", "head", "node_config", "BlockDeviceMappings", 0, "Ebs"),
        {"VolumeSize": "150 GB"},
        "VolumeSize",
    ),
    "ami": (("available_node_types", "head", "node_config", "ImageId"), "latest", "no image"),
    "bounds": (("available_node_types", "gpu_worker", "max_workers"), 9, "min_workers"),
    "busy_head": (("available_node_types", "head", "resources"), {}, "on the head"),
    "zone": (("provider", "availability_zone"), "us-east-1a", "not in us-west-2"),
    "region": (("provider", "region"), "us-west-9", "no region"),
    "ray": (
        ("docker", "worker_image"),
        "rayproject/ray:2.40.0-py311-gpu",
        "Ray 2.40.0 is not what the project asks for",
    ),
    "python": (
        ("docker", "worker_image"),
        "rayproject/ray:2.60.0-py39-gpu",
        "Python 3.9 is not what the project asks for",
    ),
    "mixed": (("docker", "head_image"), "rayproject/ray:2.60.0-py312-cpu", "different versions"),
    "cpu_image": (("docker", "worker_image"), "rayproject/ray:2.60.0-py311-cpu", "CUDA"),
    "other_image": (("docker", "head_image"), "ray:2.60.0", "no image of Ray"),
    "not_installed": (("worker_setup_commands",), [], "not installed on the worker"),
    "elsewhere": (("file_mounts",), {"~/project": "."}, "not installed on the head"),
    "torch": (
        ("head_setup_commands", 0),
        'python -m pip install "torch==2.5"',
        "torch==2.5 would be replaced",
    ),
    "open": (("docker", "run_options"), [], "anyone"),
}


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_that_the_autoscaler_overlooks_is_found(name: str) -> None:
    place, value, words = SLIPS[name]
    config = deepcopy(CONFIGS["aws"]())
    section: Any = config
    for key in place[:-1]:
        section = section[key]
    section[place[-1]] = value

    as_ray_prepares_it(config)
    assert any(words in fault for fault in faults(config, PROJECT)), faults(config, PROJECT)


def test_the_head_is_allowed_to_look_up_the_image_of_the_workers_it_starts() -> None:
    """Ray's own role for it may not; EC2 asks this of whoever starts an instance."""
    text, config = FILE.read_text(encoding="utf-8"), CONFIGS["aws"]()
    types = config["available_node_types"]
    assert "IamInstanceProfile" not in types[config["head_node_type"]]["node_config"]
    looked_up = [
        kind["node_config"]["ImageId"].removeprefix("resolve:ssm:")
        for name, kind in types.items()
        if name != config["head_node_type"]
    ]

    assert not [image for image in looked_up if not _is_granted(text, image)]


def _is_granted(text: str, image: str) -> bool:
    """Whether the file names a command that lets the role of the head look an image up."""
    command = next(line for line in text.splitlines() if "aws iam put-role-policy" in line)
    words = shlex.split(command.removeprefix("#"))
    asked = dict(zip(words[3::2], words[4::2], strict=True))
    [statement] = json.loads(asked["--policy-document"])["Statement"]
    return (
        asked["--role-name"] == DEFAULT_RAY_IAM_ROLE
        and (statement["Effect"], statement["Action"]) == ("Allow", "ssm:GetParameters")
        and fnmatch(f"arn:aws:ssm:us-west-2::parameter{image}", statement["Resource"])
    )
