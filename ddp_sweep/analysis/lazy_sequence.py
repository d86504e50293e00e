"""A sequence whose items are built when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, overload
from weakref import WeakValueDictionary

__all__ = ["LazySequence"]

Item = TypeVar("Item")


class LazySequence(Sequence[Item], Generic[Item]):
    """Items by position; an item is the same object for as long as somebody holds it.

    So that a table of a hundred thousand configurations costs no more than what is looked at.

    Examples:
        >>> class Square:
        ...     def __init__(self, root):
        ...         self.area = root * root
        >>> squares = LazySequence(3, Square)
        >>> [square.area for square in squares], squares[-1].area, len(squares)
        ([0, 1, 4], 4, 3)
    """

    def __init__(self, count: int, build: Callable[[int], Item]) -> None:
        """Take the number of items and what builds the one at a position from 0."""
        self._count = count
        self._build = build
        self._held: WeakValueDictionary[int, Item] = WeakValueDictionary()

    def __repr__(self) -> str:
        """Its length; items are built only when they are asked for."""
        return f"<{self._count:,} items, each built when it is looked at>"

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, position: int) -> Item: ...

    @overload
    def __getitem__(self, position: slice) -> list[Item]: ...

    def __getitem__(self, position: int | slice) -> Item | list[Item]:
        if isinstance(position, slice):
            return [self[one] for one in range(*position.indices(self._count))]
        if not -self._count <= position < self._count:
            raise IndexError(f"position {position} of {self._count} items")
        position = int(position) % self._count
        item = self._held.get(position)
        if item is None:
            item = self._held[position] = self._build(position)
        return item
