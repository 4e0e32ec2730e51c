"""Likelihoods of vectors of the synthetic world at given places of given pages and books."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from .world import Channel, SyntheticWorld


class Place(NamedTuple):
    """Where a vector stands in the world: its kind, and the panel it belongs to.

    Books and pages are numbered within one question; only equality counts. Positions count only as differences.
    """

    channel: Channel
    book: int
    page: int
    position: int


def covariance(world: SyntheticWorld, places: Sequence[Place]) -> np.ndarray:
    """Covariance (D, D) of the stacked low-dimensional observations at `places`, all different."""
    blocks = []
    for a in places:
        lags = [a.position - b.position if (a.book, a.page) == (b.book, b.page) else None for b in places]
        pairs = zip(places, lags, strict=True)
        blocks.append([_block(world, a.channel, b.channel, a.book == b.book, lag) for b, lag in pairs])
    return np.block(blocks) + np.diag(np.concatenate([world.noise(place.channel) for place in places]))


@lru_cache(maxsize=4096)
def _block(world: SyntheticWorld, a: Channel, b: Channel, same_book: bool, lag: int | None) -> np.ndarray:
    """Covariance of what two observations say of their latents; `lag` is None on different pages."""
    latent = np.zeros((world.latent_dim, world.latent_dim))
    scene, action = world.style_dim, world.style_dim + world.scene_dim
    if same_book:
        latent[:scene, :scene] = np.eye(world.style_dim)
    if lag is not None:
        latent[scene:action, scene:action] = np.eye(world.scene_dim)
        latent[action:, action:] = world.action_covariance(lag)
    return world.loading(a) @ latent @ world.loading(b).T


@lru_cache(maxsize=256)
def _precision(world: SyntheticWorld, places: tuple[Place, ...]) -> tuple[np.ndarray, float]:
    """Inverse covariance, and the log density at zero."""
    factor = cho_factor(covariance(world, places), lower=True)
    size = len(factor[0])
    log_determinant = 2 * np.log(np.diag(factor[0])).sum()
    return cho_solve(factor, np.eye(size)), -0.5 * (log_determinant + size * np.log(2 * np.pi))


def assignment_log_likelihood(
    world: SyntheticWorld,
    fixed: Sequence[Place],
    slots: Sequence[Place],
    given: np.ndarray,
    items: np.ndarray,
    assignments: np.ndarray,
) -> np.ndarray:
    """Log density of known vectors together with items that are put into slots in several ways.

    For every pair of slots the quadratic form is tabulated over all pairs of items; an assignment is then a sum over
    table entries. That is what makes the enumeration of thousands of orders affordable.

    Args:
        world: The generative model.
        fixed: Places of the known vectors.
        slots: Places to fill, all of one kind of vector; none of them among `fixed`.
        given: Observations (B, D) at the fixed places, stacked in their order.
        items: Observations (B, k, d) to put into the k slots.
        assignments: (A, k) integers; the item in each slot.

    Returns:
        (B, A) log densities.
    """
    precision, log_constant = _precision(world, (*fixed, *slots))
    size, (_, k, d) = given.shape[1], items.shape
    first, cross = precision[:size, :size], precision[:size, size:].reshape(size, k, d)
    among = precision[size:, size:].reshape(k, d, k, d)
    total = np.repeat(((given @ first) * given).sum(1)[:, None], len(assignments), axis=1)
    linear = np.einsum("bsd,bid->bsi", np.tensordot(given, cross, 1), items)
    for s in range(k):
        total += 2 * linear[:, s, assignments[:, s]]
        for t in range(s, k):
            pairs = ((items @ among[s, :, t]) @ items.transpose(0, 2, 1)).reshape(len(items), k * k)
            total += (1 if s == t else 2) * pairs[:, assignments[:, s] * k + assignments[:, t]]
    return log_constant - 0.5 * total
