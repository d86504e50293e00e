"""The whole sweep file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML

from ddp_sweep.errors import SpecError, SpecProblem
from ddp_sweep.spec.axes import SweepAxes
from ddp_sweep.spec.document import KeyPath, Places, dotted
from ddp_sweep.spec.metrics import class_problem, split_class
from ddp_sweep.spec.nearest import unknown_name
from ddp_sweep.spec.rules import broken_rules
from ddp_sweep.spec.sections import (
    DataSettings,
    QualitySettings,
    ResourceSettings,
    Section,
    TrainingSettings,
)
from ddp_sweep.spec.values import FolderName, Json, Options, Seeds, WorkloadPath

__all__ = ["RULE_ERROR", "SweepSpec"]

RULE_ERROR = "broken_rule"
"""Type of the pydantic error that stands for all broken rules."""


class SweepSpec(Section):
    """What a user asks for: the resolved contents of a sweep file.

    Made by ``load_spec`` and ``parse_spec``, whose errors name the file, the line, what was
    received and what is allowed.
    """

    name: FolderName
    workload: WorkloadPath
    workload_options: Options = Field(default={})
    sweep: SweepAxes
    seeds: Seeds = (0, 1, 2, 3, 4)
    training: TrainingSettings
    """Settings of every trial, except where an axis of the sweep gives them."""
    data: DataSettings = DataSettings()
    quality: QualitySettings = QualitySettings()
    baseline: Annotated[
        Literal["auto"] | dict[str, Json],
        Field(description="auto, or a cell such as {world_size: 1, per_worker_batch_size: 32}"),
    ] = "auto"
    resources: ResourceSettings = ResourceSettings()
    probes: Annotated[bool, Field(description="true or false")] = True

    _base_dir: Path = PrivateAttr(default_factory=Path.cwd)
    _places: Places = PrivateAttr(default_factory=Places)

    @property
    def base_dir(self) -> Path:
        """The folder that relative paths in the file start from: the file's own."""
        return self._base_dir

    def located(self, base_dir: Path, places: Places) -> Self:
        """The same spec, knowing where it was read."""
        copy = self.model_copy()
        copy._base_dir = base_dir.absolute()
        copy._places = places
        return copy

    def problem(self, path: KeyPath, message: str) -> SpecProblem:
        """A problem with the setting at ``path``, with the file and line that gave it."""
        return self._places.problem(path, message)

    def require_metrics(
        self, available: Iterable[str], classes: Sequence[str] | None = None
    ) -> None:
        """Refuse targets, margins and floors on metrics or classes that the workload lacks.

        Args:
            available: Names of the metrics that the workload yields.
            classes: Names of its classes in label order; None where it has none.

        Raises:
            SpecError: Names each such metric or class and those the workload has.
        """
        names = list(available)
        asked: list[tuple[str, str]] = [
            (section, name)
            for section in ("target", "margins", "floors")
            for name in getattr(self.quality, section)
        ]
        problems = [
            self.problem(
                ("quality", section, name),
                f"this workload has no such metric: {unknown_name('metric', name, names)}",
            )
            for section, name in asked
            if split_class(name)[0] not in names
        ]
        problems += [
            self.problem(("quality", section, name), wrong)
            for section, name in asked
            if (wrong := class_problem(name, classes or ())) and split_class(name)[0] in names
        ]
        if problems:
            raise SpecError(problems)

    def to_mapping(self) -> dict[str, Any]:
        """Every setting, defaults included, as plain JSON values; ``parse_spec`` reads it."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """The resolved sweep file, defaults included."""
        text, yaml = io.StringIO(), YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
        yaml.dump(self.to_mapping(), text)
        return text.getvalue()

    @model_validator(mode="before")
    @classmethod
    def _learning_rate_of_axis(cls, raw: object) -> object:
        """A swept learning rate need not stand in ``training`` as well."""
        if not isinstance(raw, Mapping) or not isinstance(raw.get("sweep"), Mapping):
            return raw
        rates, training = raw["sweep"].get("learning_rate"), raw.get("training", {})
        swept = isinstance(rates, list | tuple) and len(rates) > 0
        if not swept or not isinstance(training, Mapping) or "learning_rate" in training:
            return raw
        return {**raw, "training": {**training, "learning_rate": rates[0]}}

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        broken = [f"{dotted(path)}: {text}" for path, text in broken_rules(self.to_mapping())]
        if broken:
            raise PydanticCustomError(RULE_ERROR, "{text}", {"text": "\n".join(broken)})
        return self
