"""What pydantic found wrong, in the words of a sweep file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ddp_sweep.spec.axes import HIDDEN_FIELDS, SweepAxes, axis_names
from ddp_sweep.spec.document import KeyPath
from ddp_sweep.spec.nearest import unknown_name
from ddp_sweep.spec.sections import TrainingSettings
from ddp_sweep.spec.sweep_spec import RULE_ERROR, SweepSpec
from ddp_sweep.spec.values import JSON_ALLOWED

__all__ = ["explain", "received"]

_LONGEST_VALUE = 60


def explain(error: ValidationError, raw: Mapping[Any, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Path and message of every bad, missing or unknown key, each path once."""
    seen: set[KeyPath] = set()
    for detail in error.errors(include_url=False):
        if detail["type"] == RULE_ERROR:  # parse_spec lists the rules one by one
            continue
        path = _without_hidden_fields(detail["loc"])
        if detail["type"] == "missing":
            message = f"missing; give {_allowed(path)}"
        elif detail["type"] in ("extra_forbidden", "invalid_key"):
            message = _unknown_key(path)
        else:
            path = _as_far_as_written(path, raw)
            if detail["type"] == "duplicate":
                message = detail["msg"]
            elif detail["loc"][-1] == "[key]":
                message = "no name of an argument; allowed: letters, digits and _, no digit first"
            else:
                message = f"received {received(_value_at(path, raw))}; allowed: {_allowed(path)}"
        if path not in seen and not _is_swept_learning_rate(path, raw):
            seen.add(path)
            yield path, message


def received(value: object) -> str:
    """A value as it would stand in the file, cut short if it is long."""
    if value is None:
        return "nothing"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _without_hidden_fields(path: KeyPath) -> KeyPath:
    if path[:1] == ("sweep",) and len(path) > 2 and path[1] in HIDDEN_FIELDS:
        return ("sweep", *path[2:])
    return path


def _as_far_as_written(path: KeyPath, raw: object) -> KeyPath:
    """Cut what pydantic adds to a path, such as the branch of a union."""
    for end, part in enumerate(path):
        inside = isinstance(raw, Sequence) and isinstance(part, int) and part < len(raw)
        if not inside and not (isinstance(raw, Mapping) and part in raw):
            return path[:end]
        raw = raw[part]  # type: ignore[index]
    return path


def _value_at(path: KeyPath, raw: object) -> object:
    for part in path:
        raw = raw[part]  # type: ignore[index]
    return raw


def _is_swept_learning_rate(path: KeyPath, raw: Mapping[Any, Any]) -> bool:
    """True for the copy of an axis's first value that ``SweepSpec`` itself put there."""
    if path != ("training", "learning_rate"):
        return False
    training, sweep = raw.get("training"), raw.get("sweep")
    written = isinstance(training, Mapping) and "learning_rate" in training
    return not written and isinstance(sweep, Mapping) and "learning_rate" in sweep


def _unknown_key(path: KeyPath) -> str:
    *section, key = path
    field = _field_at(section)
    model = SweepSpec if field is None else field.annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    allowed = axis_names() if model is SweepAxes else list(model.model_fields)
    home = _section_with(str(key))
    if home is not None and key not in allowed:
        return f"unknown key; it belongs under {home}; allowed here: {', '.join(allowed)}"
    return unknown_name("key", str(key), allowed)


def _section_with(key: str) -> str | None:
    for name in ("training", "quality", "resources", "data"):
        section = SweepSpec.model_fields[name].annotation
        if isinstance(section, type) and key in section.model_fields:
            return name
    return None


def _allowed(path: KeyPath) -> str:
    field = _field_at(path)
    if field is None:
        return JSON_ALLOWED
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
        model = field.annotation
        keys = axis_names() if model is SweepAxes else list(model.model_fields)
        return f"a mapping with the keys {', '.join(keys)}"
    if path[0] == "sweep" and path[1] not in SweepAxes.model_fields and len(path) == 2:
        return f"a list of values, each {field.description}"
    names = [part for part in path if isinstance(part, str)]
    within = isinstance(path[-1], int) or _field_at(names[:-1]) is field
    extra = field.json_schema_extra
    item = extra.get("item") if within and isinstance(extra, dict) else None
    return str(item or field.description)


def _field_at(path: Sequence[str | int]) -> FieldInfo | None:
    """The field a path leads to, or the last one on its way; None for an option's axis."""
    model: type[BaseModel] = SweepSpec
    field = None
    for name in (part for part in path if isinstance(part, str)):
        if model is SweepAxes and name not in SweepAxes.model_fields:
            model = TrainingSettings
        field = model.model_fields.get(name)
        if field is None or not isinstance(field.annotation, type):
            break
        if not issubclass(field.annotation, BaseModel):
            break
        model = field.annotation
    return field
