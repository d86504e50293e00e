"""Which worker is which rank, so that the first ranks lie on few nodes or on many.

A trial of a smaller world size runs on the first ranks of a group of workers. Ray Train numbers
the workers of a node one after another, in whatever order the nodes came. That is neither: a node
with one worker may come first, and spread workers would all begin on one node.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

__all__ = ["rank_order"]


def rank_order(nodes: Sequence[Hashable], *, spread: bool) -> list[int]:
    """Worker of each rank.

    Args:
        nodes: Node of each worker.
        spread: Whether the first ranks are to lie on as many nodes as possible; else on as few.

    Returns:
        Indices into ``nodes`` in the order of the ranks. For every k the first k lie on as many,
        or as few, nodes as any k workers do.

    Examples:
        >>> rank_order(["a", "b", "b", "c", "b"], spread=False)
        [1, 2, 4, 0, 3]
        >>> rank_order(["a", "b", "b", "c", "b"], spread=True)
        [1, 0, 3, 2, 4]
    """
    members: dict[Hashable, list[int]] = {}
    for worker, node in enumerate(nodes):
        members.setdefault(node, []).append(worker)
    # The largest first: the fewest nodes hold k workers that way. Sorting keeps the order of ties.
    groups = sorted(members.values(), key=len, reverse=True)
    if not spread:
        return [worker for group in groups for worker in group]
    rounds = len(groups[0]) if groups else 0
    return [group[turn] for turn in range(rounds) for group in groups if turn < len(group)]
