"""The cluster file is one that Ray's autoscaler accepts; nothing here starts Ray or asks AWS."""

from __future__ import annotations

import re
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config() -> dict[str, Any]:
    text = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return loaded


def validated(config: dict[str, Any]) -> dict[str, Any]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(deepcopy(config))
    validate_config(prepared)
    return prepared


def test_the_autoscaler_accepts_it(config: dict[str, Any]) -> None:
    prepared = validated(config)

    assert set(prepared["available_node_types"]) == set(config["available_node_types"])


def test_the_autoscaler_refuses_an_unknown_section(config: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="available_node_typos"):
        validated({**config, "available_node_typos": {}})


def test_node_types_are_aws_instances_with_an_image(config: dict[str, Any]) -> None:
    # The autoscaler passes these on unseen, so a slip would show only on AWS.
    for name, node_type in config["available_node_types"].items():
        node = node_type["node_config"]
        assert re.fullmatch(r"[a-z]\d[a-z]*\.\d*[a-z]+", node["InstanceType"]), name
        assert node["ImageId"].startswith(("ami-", "resolve:ssm:/aws/service/")), name


def test_the_head_holds_no_trial_and_the_workers_do(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    head = types[config["head_node_type"]]
    workers = [kind for name, kind in types.items() if name != config["head_node_type"]]

    assert head["resources"]["CPU"] == 0
    assert sum(kind["max_workers"] for kind in workers) == config["max_workers"] > 0


def test_ray_on_the_cluster_is_the_version_that_the_project_asks_for(
    config: dict[str, Any],
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [ray] = [name for name in project["dependencies"] if name.startswith("ray")]
    image = config["docker"]["image"]

    [version] = re.findall(r">=(\d+\.\d+)", ray)
    assert re.fullmatch(rf"rayproject/ray:{re.escape(version)}\.\d+-py311-gpu", image)
