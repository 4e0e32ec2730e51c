"""Exact reading order on the synthetic corpus, by enumeration of all orders of a page."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from ..errors import ComicSeqArgumentError
from .gaussian import Place, assignment_log_likelihood
from .world import SyntheticWorld

MAX_PANELS = 7


class OrderPosterior(NamedTuple):
    """What the panels of a page, given without places, say about their order.

    Attributes:
        precedence: (B, N, N) probability that panel i is read before panel j; 0 at padding and on the diagonal.
        adjacency: (B, N, N) probability that panel j follows directly on panel i.
        by_precedence: (B, N) the order, as indices of panels, with the most pairs expected right; -1 at padding.
        best_order: (B, N) the most probable order.
    """

    precedence: np.ndarray
    adjacency: np.ndarray
    by_precedence: np.ndarray
    best_order: np.ndarray


def order_posterior(
    panel_embeddings: np.ndarray, attention_mask: np.ndarray | None, world: SyntheticWorld
) -> OrderPosterior:
    """Posterior over the order of shuffled pages.

    Args:
        panel_embeddings: (B, N, P) panels in an order that says nothing.
        attention_mask: (B, N) 1 at real panels; None if all are.
        world: The generative model that the pages come from.

    Raises:
        ComicSeqArgumentError: If a page has more than 7 panels, which are too many orders to enumerate.
    """
    shape = panel_embeddings.shape[:2]
    real = np.ones(shape, bool) if attention_mask is None else np.asarray(attention_mask, bool)
    longest = real.sum(1).max(initial=0)
    if longest > MAX_PANELS:
        raise ComicSeqArgumentError(
            f"a page has {longest} panels, but all orders are enumerated up to {MAX_PANELS}: leave longer pages out."
        )
    observed = world.observe(np.where(real[..., None], panel_embeddings, 0), "panel")
    precedence, adjacency = np.zeros((*shape, shape[1])), np.zeros((*shape, shape[1]))
    by_precedence, best_order = np.full((2, *shape), -1)
    patterns, membership = np.unique(real, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        rows, slots = np.flatnonzero(membership.reshape(-1) == number), np.flatnonzero(pattern)
        n = len(slots)
        if n == 0:
            continue
        permutations, precedes, follows = _orders(n)
        items = observed[np.ix_(rows, slots)]
        places = tuple(Place("panel", 0, 0, p) for p in range(n))
        nothing = np.zeros((len(rows), 0))
        probability = softmax(assignment_log_likelihood(world, (), places, nothing, items, permutations), axis=1)
        pairs, cells, firsts = probability @ precedes, np.ix_(rows, slots, slots), np.ix_(rows, np.arange(n))
        precedence[cells] = pairs.reshape(-1, n, n)
        adjacency[cells] = (probability @ follows).reshape(-1, n, n)
        by_precedence[firsts] = slots[permutations[(pairs @ precedes.T).argmax(1)]]
        best_order[firsts] = slots[permutations[probability.argmax(1)]]
    return OrderPosterior(precedence, adjacency, by_precedence, best_order)


@lru_cache
def _orders(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All orders (n!, n) of n panels, and the precedence and the adjacency (n!, n * n) that hold in each."""
    permutations = np.array(list(itertools.permutations(range(n))))
    place = np.argsort(permutations, axis=1)
    distance = (place[:, None, :] - place[:, :, None]).reshape(len(permutations), -1)
    return permutations, (distance > 0).astype(np.float64), (distance == 1).astype(np.float64)
