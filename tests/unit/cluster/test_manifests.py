"""What is printed for Kubernetes: by KubeRay's schema, and by what its operator does with it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Cli
from jsonschema import Draft202012Validator
from manifest_sweep import write_sweep
from packaging.version import Version
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "tests" / "data" / "kuberay" / "rayjob_v1.schema.json"


def strict(schema: Any) -> Any:
    """The same schema where a property that it does not name is an error, as with kubectl."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    inside = {key: strict(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        inside["additionalProperties"] = False
    return inside


def errors_of(job: dict[str, Any]) -> list[str]:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return [error.message for error in Draft202012Validator(strict(schema)).iter_errors(job)]


def documents(text: str) -> dict[str, dict[str, Any]]:
    return {one["kind"]: one for one in YAML(typ="safe", pure=True).load_all(text)}


@pytest.fixture
def rayjob(cli: Cli, tmp_path: Path) -> dict[str, dict[str, Any]]:
    sweep = write_sweep(tmp_path)
    printed = cli("submit", sweep, "--manifest", "kuberay", "--workers-per-node", "3")
    assert printed.code == 0, printed.err
    return documents(printed.out)


def test_the_rayjob_is_valid_by_kuberays_schema(rayjob: dict[str, dict[str, Any]]) -> None:
    assert errors_of(rayjob["RayJob"]) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("backofLimit",), 2),
        (("backoffLimit",), "2"),
        (("rayClusterSpec", "authOptions", "mode"), "tokens"),
        (("rayClusterSpec", "workerGroupSpecs", 0, "groupName"), None),
        (("rayClusterSpec", "headGroupSpec", "template", "spec", "container"), []),
    ],
)
def test_the_schema_refuses_what_kuberay_would(
    rayjob: dict[str, dict[str, Any]], place: tuple[str | int, ...], value: object
) -> None:
    section: Any = rayjob["RayJob"]["spec"]
    for key in place[:-1]:
        section = section[key]
    section[place[-1]] = value

    assert errors_of(rayjob["RayJob"])


def test_the_rayjob_ends_goes_on_and_keeps_its_results(rayjob: dict[str, dict[str, Any]]) -> None:
    spec = rayjob["RayJob"]["spec"]
    claim = rayjob["PersistentVolumeClaim"]["metadata"]["name"]
    groups = [spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]]

    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["activeDeadlineSeconds"] == 12 * 3600
    # KubeRay would start a new cluster after any failure, a mistyped sweep among them.
    assert spec["backoffLimit"] == 0
    assert "--output /shared/ddp-sweep-results/own " in spec["entrypoint"]
    for group in groups:
        pod = group["template"]["spec"]
        volumes = {one["name"]: one for one in pod["volumes"]}
        mounts = {one["mountPath"]: one["name"] for one in pod["containers"][0]["volumeMounts"]}
        assert volumes[mounts["/shared"]]["persistentVolumeClaim"]["claimName"] == claim


def test_the_pods_hold_the_largest_world_size_and_the_head_none_of_it(
    rayjob: dict[str, dict[str, Any]],
) -> None:
    cluster = rayjob["RayJob"]["spec"]["rayClusterSpec"]
    [workers] = cluster["workerGroupSpecs"]
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]

    # 4 workers of 2 GPUs and 3 CPUs, three to a pod.
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"] == 2
    assert limits["nvidia.com/gpu"] == "6"
    assert workers["rayStartParams"]["num-cpus"] == "9"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert Version(cluster["rayVersion"]) >= Version("2.60")


@pytest.mark.parametrize(("loader_workers", "cpus"), [("auto", "10"), ("2", "16")])
def test_the_pods_have_cpus_that_no_worker_takes_for_ray_and_the_loaders(
    cli: Cli, tmp_path: Path, loader_workers: str, cpus: str
) -> None:
    printed = cli(
        *("submit", write_sweep(tmp_path), "--manifest", "kuberay", "--workers-per-node", "3"),
        *("--set", f"data.loader_workers={loader_workers}"),
    )
    cluster = documents(printed.out)["RayJob"]["spec"]["rayClusterSpec"]
    [workers] = cluster["workerGroupSpecs"]

    # 3 workers of 3 CPUs, one for Ray, and what the workers' loaders are known to need.
    resources = workers["template"]["spec"]["containers"][0]["resources"]
    assert resources["limits"]["cpu"] == resources["requests"]["cpu"] == cpus
    assert workers["rayStartParams"]["num-cpus"] == "9"


def test_the_config_map_holds_the_sweep_and_the_code_where_the_entrypoint_looks(
    rayjob: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    folder = write_sweep(tmp_path).parent
    spec = rayjob["RayJob"]["spec"]
    pod = spec["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    [code] = [one["configMap"] for one in pod["volumes"] if "configMap" in one]
    texts = rayjob["ConfigMap"]["data"]
    there = {item["path"]: texts[item["key"]] for item in code["items"]}

    assert code["name"] == rayjob["ConfigMap"]["metadata"]["name"]
    assert there == {
        f"sweep/{name}": (folder / name).read_text(encoding="utf-8")
        for name in ("sweep.yaml", "model.py", "parts/layers.py")
    }
    assert "/code/sweep/sweep.yaml" in spec["entrypoint"]


def test_what_is_no_text_travels_as_base64_and_what_is_too_large_is_refused(
    cli: Cli, tmp_path: Path
) -> None:
    sweep = write_sweep(tmp_path)
    table = sweep.with_name("table.bin")
    table.write_bytes(b"\xff\xfe\x00")
    arguments = ("submit", sweep, "--manifest", "kuberay", "--ship", table)

    printed = documents(cli(*arguments).out)
    assert list(printed["ConfigMap"]["binaryData"].values()) == ["//4A"]

    for contents in (b"\xff" * 2_000_000, "é".encode() * 500_000):
        table.write_bytes(contents)
        refused = cli(*arguments)
        assert refused.code == 2
        assert "in a ConfigMap; put the larger files into the image" in refused.err


def test_it_is_applied_in_a_way_that_takes_a_large_config_map(cli: Cli, tmp_path: Path) -> None:
    """Without the option kubectl keeps a copy in an annotation, of 262,144 bytes at most."""
    printed = cli("submit", write_sweep(tmp_path), "--manifest", "kuberay").out

    for text in (printed, (ROOT / "README.md").read_text(encoding="utf-8")):
        assert re.findall(r"kubectl apply(.*) -f", text) == [" --server-side"]


def test_an_existing_claim_and_an_image_are_taken(cli: Cli, tmp_path: Path) -> None:
    printed = cli(
        *("submit", write_sweep(tmp_path), "--manifest", "kuberay", "--claim", "lab-disk"),
        *("--image", "lab/sweep:3", "--results", "/shared/x", "--set", "training.epochs=2"),
    )
    found = documents(printed.out)
    spec = found["RayJob"]["spec"]

    assert "PersistentVolumeClaim" not in found
    assert errors_of(found["RayJob"]) == []
    assert "--set training.epochs=2" in spec["entrypoint"]
    assert "--output /shared/x" in spec["entrypoint"]
    containers = json.dumps(spec)
    assert containers.count('"lab/sweep:3"') == 2
    assert containers.count('"claimName": "lab-disk"') == 2


# What KubeRay runs in the submitter's pod, the entrypoint pasted into it as it stands; see
# BuildJobSubmitCommand in its ray-operator/controllers/ray/common/job.go.
SUBMITTER = """\
if ! ray job status --address http://head:8265 j >/dev/null 2>&1 ; \
then ray job submit --address http://head:8265 --no-wait --submission-id j -- {entrypoint} ; \
fi ; ray job logs --address http://head:8265 --follow j"""
RAY = """#!/bin/bash
case $2 in
    status) exit 1 ;;
    submit) while [[ $1 != -- ]]; do shift; done; shift; printf '%s\\0' "$@" > submitted ;;
esac
"""
PYTHON = """#!/bin/bash
printf '%s\\n' "$*" >> ran
exit "$EXIT_CODE"
"""


@pytest.mark.parametrize("exit_code", [0, 3])
def test_kuberay_runs_the_checks_and_the_sweep_in_the_job_and_nothing_beside_it(
    cli: Cli, tmp_path: Path, exit_code: int
) -> None:
    value = "workload_options.path=/a;b && c > $HOME 'd' \"e\" | (f)"
    printed = cli("submit", write_sweep(tmp_path), "--manifest", "kuberay", "--set", value)
    entrypoint = documents(printed.out)["RayJob"]["spec"]["entrypoint"]
    pod = tmp_path / "pod"
    for name, text in {"ray": RAY, "python": PYTHON}.items():
        program = pod / "bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)

    def shell(*words: str) -> int:
        environment = {"PATH": f"{pod / 'bin'}:/usr/bin:/bin", "EXIT_CODE": str(exit_code)}
        return subprocess.run(words, cwd=pod, env=environment, check=False).returncode

    assert shell("bash", "-ce", SUBMITTER.format(entrypoint=entrypoint)) == 0
    assert not (pod / "ran").exists()
    # `ray job submit` joins the words again, and the head gives them to a shell.
    words = (pod / "submitted").read_text(encoding="utf-8").split("\0")[:-1]
    assert shell("sh", "-c", shlex.join(words)) == exit_code

    sweep = f"/code/sweep/sweep.yaml --set {value}"
    results = "--progress plain --output /shared/ddp-sweep-results/own --address auto"
    assert (pod / "ran").read_text(encoding="utf-8").splitlines() == [
        f"-m ddp_sweep.cluster.submission.checks {sweep}",
        f"-m ddp_sweep.cli run {sweep} {results}",
    ][: 1 if exit_code else 2]


@pytest.mark.parametrize("name", ["Fraud_2026", "9.lives", "a" * 60])
def test_any_name_of_a_sweep_becomes_one_that_kubernetes_takes(
    cli: Cli, tmp_path: Path, name: str
) -> None:
    printed = cli("submit", write_sweep(tmp_path, name=name), "--manifest", "kuberay")
    assert printed.code == 0, printed.err
    job = documents(printed.out)["RayJob"]

    # A label by RFC 1035, of at most the 47 characters that KubeRay allows.
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", job["metadata"]["name"])


@pytest.mark.parametrize("name", ["on", "yes", "null"])
def test_a_name_that_yaml_takes_for_something_else_stays_a_name(
    cli: Cli, tmp_path: Path, name: str
) -> None:
    """Read by YAML 1.1, as Kubernetes does."""
    sweep = write_sweep(tmp_path, name=f"'{name}'")
    printed = cli("submit", sweep, "--manifest", "kuberay", "--claim", "123").out
    jobs = [one for one in yaml.safe_load_all(printed) if one["kind"] == "RayJob"]

    assert [errors_of(job) for job in jobs] == [[]]
    assert jobs[0]["metadata"]["name"] == name
    assert json.dumps(jobs).count('"claimName": "123"') == 2


def test_a_sweep_for_cpus_asks_for_no_gpu(cli: Cli, tmp_path: Path) -> None:
    for manifest in ("kuberay", "slurm"):
        printed = cli("submit", write_sweep(tmp_path, device="cpu"), "--manifest", manifest)
        assert printed.code == 0, printed.err
        for asked in ("nvidia.com/gpu", "--gpus", "--num-gpus"):
            assert asked not in printed.out


def test_a_file_that_is_missing_is_named(cli: Cli, tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path)
    (sweep.parent / "model.py").unlink()

    refused = cli("submit", sweep, "--manifest", "kuberay")
    assert refused.code == 2
    assert f"there is no file {sweep.parent / 'model.py'}" in refused.err
