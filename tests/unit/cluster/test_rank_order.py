from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from ddp_sweep.cluster.gang.rank_order import rank_order

NODES = st.lists(st.sampled_from("abcd"), max_size=7)


@given(nodes=NODES, spread=st.booleans())
def test_every_worker_gets_one_rank(nodes: list[str], spread: bool) -> None:
    assert sorted(rank_order(nodes, spread=spread)) == list(range(len(nodes)))


@given(nodes=NODES)
def test_the_first_ranks_lie_on_the_fewest_or_the_most_nodes(nodes: list[str]) -> None:
    """Against every choice of so many workers."""
    for spread, best in ((False, min), (True, max)):
        order = rank_order(nodes, spread=spread)
        for size in range(1, len(nodes) + 1):
            possible = (len(set(chosen)) for chosen in combinations(nodes, size))
            assert len({nodes[worker] for worker in order[:size]}) == best(possible)


@given(nodes=NODES)
def test_packed_ranks_of_a_node_are_neighbours(nodes: list[str]) -> None:
    named = [nodes[worker] for worker in rank_order(nodes, spread=False)]
    changes = sum(one != other for one, other in pairwise(named))
    assert changes == max(0, len(set(nodes)) - 1)
