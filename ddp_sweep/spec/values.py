"""The kinds of values a sweep file holds.

A ``description`` is the phrase that completes "allowed: ..." in an error message; ``item`` does so
for one value of a list or a mapping.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue
from pydantic_core import PydanticCustomError

__all__ = [
    "JSON_ALLOWED",
    "SIZES_ALLOWED",
    "SIZE_ALLOWED",
    "AutoOrBool",
    "AutoOrCount",
    "AutoOrSize",
    "AutoOrWarmup",
    "Count",
    "Distinct",
    "FolderName",
    "Json",
    "Margins",
    "NonNegative",
    "Numbers",
    "OptionalNonNegative",
    "OptionalPositive",
    "OptionalSize",
    "Options",
    "Positive",
    "Seeds",
    "Size",
    "Sizes",
    "Threshold",
    "Values",
    "WorkloadPath",
    "canonical_json",
]

LARGEST = 1_000_000_000
"""Above any batch or cluster, and far below where a product of two leaves 64 bits."""
MOST_SEEDS = 10_000
_SHARE_ABOVE_0 = r"^([0-9]*\.0*[1-9][0-9]*|0*[1-9][0-9]*(\.[0-9]+)?)%$"
JSON_ALLOWED = "text, finite numbers, true, false, null, lists or mappings of these"
SIZE_ALLOWED = f"a whole number from 1 to {LARGEST}"
SIZES_ALLOWED = f"a list of whole numbers from 1 to {LARGEST}, such as [1, 2, 4]"


def canonical_json(value: object) -> str:
    """JSON text that is the same for equal settings, whatever the order of their keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _finite(value: JsonValue) -> JsonValue:
    children: list[JsonValue] = []
    if isinstance(value, dict):
        children = list(value.values())
    elif isinstance(value, list):
        children = value
    elif isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("not_finite", "not a finite number")
    for child in children:
        _finite(child)
    return value


def _as_tuple(value: object) -> object:
    """YAML has lists; strict models take tuples only."""
    return tuple(value) if isinstance(value, list) else value


def _none_twice(values: tuple[Any, ...]) -> tuple[Any, ...]:
    seen: set[Hashable] = set()
    for value in values:
        text = canonical_json(value.model_dump() if hasattr(value, "model_dump") else value)
        if text in seen:
            raise PydanticCustomError(
                "duplicate", "received {text} twice; allowed: each value once", {"text": text}
            )
        seen.add(text)
    return values


def _seed_list(value: object) -> object:
    """A count n stands for the seeds 0 to n - 1."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_SEEDS:
        return tuple(range(value))
    return _as_tuple(value)


Distinct = (BeforeValidator(_as_tuple), Field(min_length=1), AfterValidator(_none_twice))
"""What makes a tuple an axis: read from a list, not empty, no value twice."""

Json = Annotated[
    JsonValue,
    AfterValidator(_finite),
    Field(description=JSON_ALLOWED),
]
Values = Annotated[tuple[Json, ...], *Distinct]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
Options = Annotated[
    dict[Identifier, Json],
    Field(
        description="a mapping from the workload's argument names to text, finite numbers, "
        "true, false, null, lists or mappings",
        json_schema_extra={"item": JSON_ALLOWED},
    ),
]

Size = Annotated[
    int,
    Field(ge=1, le=LARGEST, description=SIZE_ALLOWED),
]
OptionalSize = Annotated[
    Annotated[int, Field(ge=1, le=LARGEST)] | None,
    Field(description=f"null, or a whole number from 1 to {LARGEST}"),
]
Sizes = Annotated[
    tuple[Size, ...],
    *Distinct,
    Field(description=SIZES_ALLOWED, json_schema_extra={"item": SIZE_ALLOWED}),
]
Count = Annotated[
    int,
    Field(ge=0, le=LARGEST, description=f"a whole number from 0 to {LARGEST}"),
]
Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**32)], ...],
    BeforeValidator(_seed_list),
    Field(min_length=1, max_length=MOST_SEEDS),
    AfterValidator(_none_twice),
    Field(
        description=f"a count from 1 to {MOST_SEEDS}, such as 5, or a list of whole numbers "
        "from 0 to 4294967295, such as [0, 1, 2]",
        json_schema_extra={"item": "a whole number from 0 to 4294967295"},
    ),
]

Positive = Annotated[float, Field(gt=0, description="a finite number above 0")]
OptionalPositive = Annotated[
    Annotated[float, Field(gt=0)] | None,
    Field(description="null, or a finite number above 0"),
]
NonNegative = Annotated[float, Field(ge=0, description="a finite number of at least 0")]
OptionalNonNegative = Annotated[
    Annotated[float, Field(ge=0)] | None,
    Field(description="null, or a finite number of at least 0"),
]
Threshold = Annotated[float, Field(gt=0, lt=1, description="a number between 0 and 1")]

AutoOrSize = Annotated[
    Annotated[int, Field(ge=1, le=LARGEST)] | Literal["auto"],
    Field(description=f"auto, or a whole number from 1 to {LARGEST}"),
]
AutoOrCount = Annotated[
    Annotated[int, Field(ge=0, le=LARGEST)] | Literal["auto"],
    Field(description=f"auto, or a whole number from 0 to {LARGEST}"),
]
AutoOrBool = Annotated[
    Annotated[bool, Field()] | Literal["auto"],
    Field(description="auto, true or false"),
]
AutoOrWarmup = Annotated[
    Annotated[float, Field(ge=0, le=1)] | Literal["auto"],
    Field(description="auto, or a number from 0 to 1"),
]

Numbers = Annotated[
    dict[str, float],
    Field(
        description="a mapping from metrics to finite numbers, such as {accuracy: 0.95}",
        json_schema_extra={"item": "a finite number"},
    ),
]
Margins = Annotated[
    dict[
        str,
        Annotated[float, Field(gt=0)] | Annotated[str, Field(pattern=_SHARE_ABOVE_0)],
    ],
    Field(
        description="a mapping from metrics to numbers above 0, such as {accuracy: 0.01}, "
        'or to shares such as "2%" for metrics without an upper bound',
        json_schema_extra={"item": 'a number above 0, or a share such as "2%"'},
    ),
]

FolderName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=100,
        description="a folder's name: up to 100 letters, digits, '.', '_' or '-', "
        "beginning with a letter or a digit",
    ),
]
WorkloadPath = Annotated[
    str,
    Field(
        pattern=r"^([A-Za-z_]\w*(\.[A-Za-z_]\w*)*|[^:]+\.py):[A-Za-z_]\w*$",
        description="module:attribute, such as ddp_sweep.workloads.digits:Digits, "
        "or path/to/file.py:attribute",
    ),
]
