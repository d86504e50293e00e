"""From rows to a table that Parquet can hold; what workloads name and say may be odd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ddp_sweep.errors import UnwritableError
from ddp_sweep.results.tables import first_line

__all__ = ["table_of_rows"]


def table_of_rows(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """The rows as a table; a column that a row lacks is null.

    Raises:
        UnwritableError: A value does not fit the type of its column.
    """
    return pa.table(
        [_column([row.get(field.name) for row in rows], field) for field in schema], schema=schema
    )


def _column(values: list[Any], field: pa.Field) -> pa.Array:
    try:
        if field.type == pa.string():
            values = [_encodable(value) for value in values]
        elif field.type == pa.list_(pa.string()):
            values = [value and [_encodable(one) for one in value] for value in values]
        return pa.array(values, type=field.type)
    except (pa.ArrowException, ArithmeticError, TypeError, ValueError) as error:
        raise UnwritableError(f"column {field.name}: {first_line(error)}") from error


def _encodable(text: Any) -> Any:  # noqa: ANN401 - what is no text is Arrow's to judge
    r"""Text as it is, with escapes where a file name has bytes that are no UTF-8.

    >>> print(_encodable("caf" + chr(0xDCE9) + ".png"))
    caf\udce9.png
    """
    return text.encode(errors="backslashreplace").decode() if isinstance(text, str) else text
