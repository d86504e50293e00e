"""The ``sweep`` section: a grid over world sizes, batch sizes and any other setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, create_model, model_serializer, model_validator
from pydantic.fields import FieldInfo

from ddp_sweep.spec.sections import Section, TrainingSettings
from ddp_sweep.spec.values import SIZE_ALLOWED, SIZES_ALLOWED, Distinct, Json, Sizes, Values

__all__ = ["BATCH_AXES", "HIDDEN_FIELDS", "OPTION_PREFIX", "SweepAxes", "axis_names"]

BATCH_AXES = ("per_worker_batch_size", "global_batch_size")
OPTION_PREFIX = "workload_options."
HIDDEN_FIELDS = ("training_axes", "option_axes")
"""Where a ``SweepAxes`` keeps the axes that are not fields of its own."""


def _axis_field(setting: FieldInfo) -> tuple[Any, None]:
    """Type and default of the axis for a setting: a list of what the setting allows."""
    value = setting.rebuild_annotation()
    axis = Annotated[tuple[value, ...], *Distinct]  # type: ignore[valid-type]
    return (axis | None, None)


_AXIS_FIELDS: dict[str, Any] = {
    name: _axis_field(setting) for name, setting in TrainingSettings.model_fields.items()
}
_TrainingAxes = create_model("_TrainingAxes", __base__=Section, **_AXIS_FIELDS)
"""For each key of ``training`` a list of values, each checked as that key is."""


def _training_axes(raw: object) -> object:
    # A ValidationError in here keeps its places: pydantic prepends the place of this field.
    return _TrainingAxes.model_validate(raw).model_dump(exclude_none=True)


_Axes = Annotated[dict[str, tuple[Json, ...]], BeforeValidator(_training_axes)]
_Cells = Annotated[
    tuple[dict[str, Json], ...],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
    Field(description="a list of cells to leave out, such as [{world_size: 8}]"),
]
_OptionAxis = Annotated[str, Field(pattern=r"^workload_options\.[A-Za-z_]\w*$")]
_OptionalSizes = Annotated[
    Sizes | None, Field(description=SIZES_ALLOWED, json_schema_extra={"item": SIZE_ALLOWED})
]


class SweepAxes(Section):
    """Lists of values; the grid is their product, less the excluded cells.

    It is read from, and dumped to, one flat mapping: ``axes`` are the keys of ``training`` and
    ``workload_options.<name>`` in it.
    """

    world_size: Sizes
    per_worker_batch_size: _OptionalSizes = None
    global_batch_size: _OptionalSizes = None
    exclude: _Cells = ()
    training_axes: _Axes
    option_axes: dict[_OptionAxis, Values]

    @property
    def axes(self) -> dict[str, tuple[Json, ...]]:
        """The swept keys of ``training`` and ``workload_options.<name>``, with their values."""
        return {**self.training_axes, **self.option_axes}

    @model_validator(mode="before")
    @classmethod
    def _sort_out(cls, raw: object) -> object:
        if not isinstance(raw, Mapping):
            return raw
        own = {key for key in cls.model_fields if key not in HIDDEN_FIELDS}
        options = {key for key in raw if isinstance(key, str) and key.startswith(OPTION_PREFIX)}
        return {
            **{key: value for key, value in raw.items() if key in own},
            "training_axes": {k: v for k, v in raw.items() if k not in own and k not in options},
            "option_axes": {key: raw[key] for key in raw if key in options},
        }

    @model_serializer
    def _flatten(self) -> dict[str, Any]:
        flat = {"world_size": list(self.world_size)}
        for axis in BATCH_AXES:
            if (values := getattr(self, axis)) is not None:
                flat[axis] = list(values)
        axes = {name: list(values) for name, values in self.axes.items()}
        return {**flat, **axes, "exclude": list(self.exclude)}


def axis_names() -> list[str]:
    """Every key a ``sweep`` section may have, in the order they are documented."""
    own = [name for name in SweepAxes.model_fields if name not in HIDDEN_FIELDS]
    return [*own, *TrainingSettings.model_fields, f"{OPTION_PREFIX}<name>"]
