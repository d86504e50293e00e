"""Writes what other schedulers read to run a sweep: a RayJob for Kubernetes, a script for Slurm.

Text only: nothing is started, and neither Ray nor a cluster is needed.
"""

from __future__ import annotations

import base64
import io
import math
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

import ddp_sweep
from ddp_sweep.cluster.submission.shipment import Shipment
from ddp_sweep.errors import SubmissionError
from ddp_sweep.spec import SweepSpec

__all__ = ["Machines", "kuberay_manifest", "machines_for", "slurm_script"]

CODE = "/code"
"""Where the pods of Kubernetes see the sweep file and the workload."""
_MOST_CONFIG_BYTES = 900_000
"""Kubernetes takes a ConfigMap of up to 1 MiB."""
_LEAST_HOURS = 0.25
"""Under Slurm, whose script gets its signal ten minutes before the end."""
_LONGEST_NAME = 40
"""KubeRay takes 47 for a RayJob; the ConfigMap has a few more."""


@dataclass(frozen=True, kw_only=True)
class Machines:
    """What a scheduler is asked for."""

    world_size: int
    """The largest of the sweep."""
    workers_per_node: int
    nodes: int
    cpus_per_node: int
    gpus_per_node: int


def machines_for(spec: SweepSpec, workers_per_node: int) -> Machines:
    """Enough nodes, all alike, for the largest world size of a sweep.

    ``device: auto`` is taken for GPUs: one who asks a scheduler for nodes has to say which.
    """
    world_size, resources = max(spec.sweep.world_size), spec.resources
    workers = min(workers_per_node, world_size)
    return Machines(
        world_size=world_size,
        workers_per_node=workers,
        nodes=math.ceil(world_size / workers),
        cpus_per_node=workers * resources.cpus_per_worker,
        gpus_per_node=0 if resources.device == "cpu" else workers * resources.gpus_per_worker,
    )


def kuberay_manifest(
    spec: SweepSpec,
    machines: Machines,
    shipment: Shipment,
    *,
    overrides: Sequence[str] = (),
    run_options: Sequence[str] = (),
    image: str | None = None,
    claim: str | None = None,
    results: str | None = None,
    hours: float,
) -> str:
    """A RayJob, the ConfigMap with its code and, unless one is named, a claim for storage.

    Args:
        spec: The sweep.
        machines: What it runs on.
        shipment: The files that the ConfigMap holds.
        overrides: Settings replaced, each ``a.b=value``.
        run_options: Words passed on to ``ddp-sweep run``.
        image: Of all containers; a name to be replaced if None.
        claim: A PersistentVolumeClaim that exists; one is made if None.
        results: Results folder in the pods; in the claim if None.
        hours: Until Kubernetes ends it.

    Raises:
        SubmissionError: The files are too large for a ConfigMap.
    """
    results = results or f"/shared/ddp-sweep-results/{spec.name}"
    words = [f"{CODE}/{shipment.sweep_file}", *_settings(overrides)]
    name = _label(spec.name)
    items = [(f"file-{number}", path) for number, (_, path) in enumerate(shipment.files)]
    return _template("rayjob.yaml.template").render(
        **_shared(spec, machines, hours),
        name=name,
        entrypoint=_entrypoint(words, run_options, results),
        seconds=round(hours * 3600),
        image=image or f"registry.example.com/ddp-sweep:{ddp_sweep.__version__}",
        claim=claim or "ddp-sweep",
        own_claim=claim is None,
        results=results,
        code=CODE,
        items=items,
        spare_cpus=_spare_cpus(spec, machines),
        config_map=_config_map(f"{name}-code", shipment),
    )


def slurm_script(
    spec: SweepSpec,
    machines: Machines,
    sweep_file: Path,
    *,
    overrides: Sequence[str] = (),
    run_options: Sequence[str] = (),
    results: str | None = None,
    interface: str | None = None,
    hours: float,
) -> str:
    """A script for ``sbatch`` that starts Ray on its nodes and runs a sweep there.

    Args:
        spec: The sweep.
        machines: What it runs on.
        sweep_file: As the nodes see it; the disk is shared.
        overrides: Settings replaced, each ``a.b=value``.
        run_options: Words passed on to ``ddp-sweep run``.
        results: Results folder; results/<name> from the current folder if None.
        interface: Network interface by which the nodes reach each other.
        hours: The time limit.

    Raises:
        SubmissionError: The time limit leaves no time before Slurm's signal.
    """
    if hours < _LEAST_HOURS:
        raise SubmissionError(
            f"--hours {hours:g}: allowed: {_LEAST_HOURS:g} or more; the last ten minutes are kept "
            "for ending the running trial"
        )
    words = [str(sweep_file.resolve()), *_settings(overrides)]
    folder = Path(results) if results else Path("results") / spec.name
    activate = Path(sys.prefix) / "bin" / "activate"
    in_environment = sys.prefix != sys.base_prefix and activate.is_file()
    minutes = math.ceil(hours * 60)
    return _template("sbatch.sh.template").render(
        **_shared(spec, machines, hours),
        name=_label(spec.name),
        time_limit=f"{minutes // 60:02d}:{minutes % 60:02d}:00",
        activate=shlex.quote(str(activate)) if in_environment else None,
        interface=shlex.quote(interface or ""),
        sweep_words=shlex.join(words),
        run_command=_run_command(words, run_options, str(folder.absolute())),
    )


def _spare_cpus(spec: SweepSpec, machines: Machines) -> int:
    """Of a pod: one for Ray's own processes, and those for loaders of data, where known."""
    loaders = spec.data.loader_workers
    return 1 + (0 if loaders == "auto" else machines.workers_per_node * loaders)


def _entrypoint(words: Sequence[str], run_options: Sequence[str], results: str) -> str:
    """The checks and, if nothing is wrong, the sweep: one command without a shell's operators.

    KubeRay pastes it into a line of its own for a shell, which would end the job at an operator
    and run the rest outside the cluster (ray-project/kuberay#3802).
    """
    check = shlex.join(["python", "-m", "ddp_sweep.cluster.submission.checks", *words])
    run = _run_command(words, run_options, results)
    return shlex.join(["sh", "-c", f"{check} && {run} --address auto"])


def _run_command(words: Sequence[str], run_options: Sequence[str], results: str) -> str:
    program = ["python", "-m", "ddp_sweep.cli", "run"]
    return shlex.join([*program, *words, *run_options, "--progress", "plain", "--output", results])


def _settings(overrides: Sequence[str]) -> list[str]:
    return [word for text in overrides for word in ("--set", text)]


def _shared(spec: SweepSpec, machines: Machines, hours: float) -> dict[str, Any]:
    return {
        **vars(machines),
        "sweep_name": spec.name,
        "device": spec.resources.device,
        "hours": f"{hours:g}",
        "ray_version": metadata.version("ray"),
        "python_version": f"{sys.version_info.major}{sys.version_info.minor}",
    }


def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("ddp_sweep"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        # {# is what bash writes for a length.
        comment_start_string="{##",
        comment_end_string="##}",
    )
    environment.filters["quoted"] = _quoted
    return environment.get_template(name)


def _quoted(text: str) -> str:
    """A text on one line, as a YAML scalar in which nothing is special."""
    return "'" + text.replace("'", "''") + "'"


def _label(name: str) -> str:
    """A name that Kubernetes allows, and Slurm as well.

    Examples:
        >>> _label("Fraud_2026 (cut)")
        'fraud-2026-cut'
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    plain = plain if plain[:1].isalpha() else f"sweep-{plain}"
    return plain[:_LONGEST_NAME].strip("-")


def _config_map(name: str, shipment: Shipment) -> str:
    """The files of a shipment as a ConfigMap; those that are no text as base64."""
    texts: dict[str, str] = {}
    binaries: dict[str, str] = {}
    for number, (file, _) in enumerate(shipment.files):
        contents = file.read_bytes()
        try:
            texts[f"file-{number}"] = LiteralScalarString(contents.decode("utf-8"))
        except UnicodeDecodeError:
            binaries[f"file-{number}"] = base64.b64encode(contents).decode()
    size = sum(len(text.encode()) for text in [*texts.values(), *binaries.values()])
    if size > _MOST_CONFIG_BYTES:
        raise SubmissionError(
            f"the code and what --ship names are {size:,} bytes, and Kubernetes takes "
            f"{_MOST_CONFIG_BYTES:,} in a ConfigMap; put the larger files into the image"
        )
    return _yaml(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            **({"data": texts} if texts else {}),
            **({"binaryData": binaries} if binaries else {}),
        }
    )


def _yaml(value: Mapping[str, Any]) -> str:
    yaml, text = YAML(), io.StringIO()
    yaml.width = 2**16
    yaml.dump(value, text)
    return text.getvalue()
