"""What is wrong with a cluster file for ``ray up``, as far as it can be known without a cloud.

Ray's own check knows the form of the file and passes on what is inside ``node_config`` unseen, so
that a misspelt instance type would show only on AWS. The shapes of EC2's requests and the names of
its instance types come with botocore.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import botocore.session
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

__all__ = ["as_ray_prepares_it", "faults"]

_GPU_FAMILY = re.compile(r"(p\d|g\d|gr\d)")
_IMAGE = re.compile(r"rayproject/ray:(?P<ray>[\d.]+)-py(?P<python>\d{2,})-(?P<kind>cpu|gpu)")
_OF_RAY_ITSELF = {"SubnetIds", "SecurityGroupIds", "KeyName", "IamInstanceProfile"}
"""Keys of node_config that Ray fills in or reads before EC2 does."""


def as_ray_prepares_it(config: Mapping[str, Any]) -> dict[str, Any]:
    """The file as Ray's autoscaler reads it; raises where it refuses it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(deepcopy(dict(config)))
    validate_config(prepared)
    return prepared


def faults(config: Mapping[str, Any], project: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing that Ray would accept, and that cannot work.

    Args:
        config: The cluster file.
        project: Section ``project`` of pyproject.toml.
    """
    found = [*_images(config, project), *_commands(config, project), *_token(config)]
    if config["provider"]["type"] == "aws":
        found += [*_node_types(config), *_zone(config)]
    return found


def _node_types(config: Mapping[str, Any]) -> Iterator[str]:
    types, head = config["available_node_types"], config["head_node_type"]
    if types[head].get("resources", {}).get("CPU") != 0:
        yield "trials would run on the head"
    workers = {name: kind for name, kind in types.items() if name != head}
    for name, kind in workers.items():
        if not 0 <= kind.get("min_workers", 0) <= kind["max_workers"] <= config["max_workers"]:
            yield f"{name}: min_workers <= max_workers <= those of the cluster does not hold"
        if not _has_gpu(kind):
            yield f"{name}: {kind['node_config']['InstanceType']} has no GPU"
    for name, kind in types.items():
        yield from (f"{name}: {fault}" for fault in _node_config(kind["node_config"]))


def _node_config(node: Mapping[str, Any]) -> Iterator[str]:
    ec2 = _ec2()
    if node["InstanceType"] not in ec2.shape_for("InstanceType").enum:
        yield f"EC2 has no instance type {node['InstanceType']}"
    asked = {**node, "MinCount": 1, "MaxCount": 1}
    request = ec2.operation_model("RunInstances").input_shape
    asked = {key: value for key, value in asked.items() if key not in _OF_RAY_ITSELF}
    report = ParamValidator().validate(asked, request)
    if report.has_errors():
        yield report.generate_report()
    image = node.get("ImageId", "")
    if not re.fullmatch(r"ami-[0-9a-f]{17}|resolve:ssm:/aws/service/[\w./-]+", image):
        yield f"{image!r} names no image"


@functools.cache
def _ec2() -> ServiceModel:
    return botocore.session.get_session().get_service_model("ec2")


@functools.cache
def _regions() -> tuple[str, ...]:
    return tuple(botocore.session.get_session().get_available_regions("ec2"))


def _has_gpu(kind: Mapping[str, Any]) -> bool:
    return _GPU_FAMILY.match(kind["node_config"]["InstanceType"]) is not None


def _zone(config: Mapping[str, Any]) -> Iterator[str]:
    provider = config["provider"]
    if provider["region"] not in _regions():
        yield f"AWS has no region {provider['region']}"
    for zone in provider["availability_zone"].split(","):
        if not re.fullmatch(re.escape(provider["region"]) + "[a-f]", zone.strip()):
            yield f"zone {zone} is not in {provider['region']}"


def _images(config: Mapping[str, Any], project: Mapping[str, Any]) -> Iterator[str]:
    docker = config["docker"]
    images = {key: docker[key] for key in ("image", "head_image", "worker_image") if key in docker}
    read = {key: _IMAGE.fullmatch(image) for key, image in images.items()}
    yield from (f"{images[key]} is no image of Ray" for key, match in read.items() if not match)
    parts = {key: match.groupdict() for key, match in read.items() if match}
    if len({(one["ray"], one["python"]) for one in parts.values()}) > 1:
        yield "head and workers have different versions"
    for key, one in parts.items():
        if not _requirement(project, "ray").specifier.contains(one["ray"]):
            yield f"Ray {one['ray']} is not what the project asks for"
        python = f"{one['python'][0]}.{one['python'][1:]}"
        if not SpecifierSet(project["requires-python"]).contains(python):
            yield f"Python {python} is not what the project asks for"
        if key != "head_image" and one["kind"] != "gpu":
            yield f"{key}: workers with GPUs need an image that has CUDA"
        if key == "head_image" and one["kind"] != "cpu":
            yield "a head without GPUs needs no image with CUDA"


def _commands(config: Mapping[str, Any], project: Mapping[str, Any]) -> Iterator[str]:
    everywhere = config.get("setup_commands", [])
    for role in ("head", "worker"):
        commands = "\n".join([*everywhere, *config.get(f"{role}_setup_commands", [])])
        installs = re.findall(r"^python -m pip install (\S+)$", commands, re.MULTILINE)
        if not any(config["file_mounts"].get(place) == "." for place in installs):
            yield f"the project is not installed on the {role}"
        for pinned in re.findall(r'"(torch[^"]*)"', commands):
            if Requirement(pinned).specifier != _requirement(project, "torch").specifier:
                yield f"{pinned} would be replaced when the project is installed"


def _token(config: Mapping[str, Any]) -> Iterator[str]:
    if "--env=RAY_AUTH_MODE=token" not in config["docker"].get("run_options", []):
        yield "anyone who reaches the cluster could run programs on it"
    if "~/.ray/auth_token" not in config["file_mounts"]:
        yield "the nodes would not have the token"


def _requirement(project: Mapping[str, Any], name: str) -> Requirement:
    [found] = [one for one in map(Requirement, project["dependencies"]) if one.name == name]
    return found
