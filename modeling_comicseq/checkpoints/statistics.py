"""How the vectors of a training lie in their space, in a few numbers, and whether other vectors lie alike.

The thresholds stand between what was measured on vectors of the same encoders and on those of others, see
`docs/own_store.md`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..stores.stage3 import PANEL_ARRAYS, Stage3Store
from ..vectors import unit

if TYPE_CHECKING:
    from ..data.panels import PanelTable

__all__ = ["compare_vectors", "describe_vectors", "sample_vectors"]

DIRECTIONS = 16
MOST_VECTORS = 2048
FEWEST_VECTORS = 16
BLOCKS = 8  # of rows that are read of a store
# Other books of the same encoders have 0.33 and more of the training's share, vectors of other encoders up to 0.06.
LEAST_ALIKE = 0.3
# With less than this above chance, the training's vectors prefer no direction.
LEAST_STRUCTURE = 0.1
# Books differ by 1.3 at most.
MOST_LONGER = 1.5
# Unit vectors in float16 differ by a thousandth; the vectors of every book that was not normalised, by 0.02 and more.
UNIT_SPREAD, FREE_SPREAD = 0.005, 0.02


def sample_vectors(source: PanelTable | Stage3Store) -> dict[str, np.ndarray]:
    """Vectors `(n, width)` of each array from all over a data set or store, `MOST_VECTORS` at most, without zeros and NaN."""
    if isinstance(source, Stage3Store):
        found = _read_blocks(source)
    else:
        found = {}
        for name in source.columns:
            subset = {"text_embeddings": source.with_text, "caption_embeddings": source.with_caption}.get(name)
            panels = (source if subset is None else subset).pool.panels
            found[name] = source.gather(name, panels[_spread(len(panels), MOST_VECTORS)])
    return {name: _usable(vectors) for name, vectors in found.items()}


def _read_blocks(store: Stage3Store) -> dict[str, np.ndarray]:
    """Vectors of a few blocks of rows; pages that cannot be read are left out: who reads them all will say so."""
    rows = min(store.chunk_rows, 64, store.pages)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in store.arrays if name in PANEL_ARRAYS}
    for lo in np.unique(np.linspace(0, store.pages - rows, BLOCKS).astype(int) // rows * rows).tolist():
        block = store.read(lo, min(lo + rows, store.pages))
        mask = block.arrays["mask"] != 0
        for failure in block.failures:
            mask[max(failure.lo - lo, 0) : failure.hi - lo] = False
        for name, part in parts.items():
            part.append(block.arrays[name][mask])
    read = {name: np.concatenate(part) for name, part in parts.items()}
    return {name: vectors[_spread(len(vectors), MOST_VECTORS)] for name, vectors in read.items()}


def _spread(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def _usable(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float32)
    return vectors[np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)]


def describe_vectors(vectors: np.ndarray) -> dict[str, Any] | None:
    """What is remembered of the vectors `(n, width)` of a training; None of too few.

    Returns:
        `vectors`, their number; `norm`, their mean length; `norm_spread`, its standard deviation over the mean;
        `directions`, an orthonormal basis `(k, width)` of those in which the first half of them lies most, base64 of
        little-endian float16; `share`, how much of the other half's squared length lies in these.
    """
    if len(vectors) < FEWEST_VECTORS:
        return None
    norms, units = np.linalg.norm(vectors, axis=1), unit(vectors)
    first, second = np.array_split(units, 2)  # mostly of different books
    width = vectors.shape[1]
    count = min(DIRECTIONS, -(-width // 8))
    basis = np.linalg.eigh(first.T @ first)[1][:, : -count - 1 : -1].T.astype("<f2")
    return {
        "vectors": len(vectors),
        "norm": float(norms.mean()),
        "norm_spread": float(norms.std() / norms.mean()),
        "share": _share(second, basis),
        "directions": base64.b64encode(basis.tobytes()).decode(),
    }


def _share(units: np.ndarray, basis: np.ndarray) -> float:
    return float(((units @ basis.T.astype(np.float32)) ** 2).sum(axis=1).mean())


def compare_vectors(known: Mapping[str, Any], vectors: np.ndarray) -> str | None:
    """Says how `vectors` (n, width) lie otherwise than those that `describe_vectors` told `known` of; None if alike.

    The share in the training's directions is compared less what vectors of any direction would have. It is a mean over
    vectors, so that a few pages are enough. The mean vector's direction is chance where vectors lie around zero, as in
    the synthetic corpus, and the effective rank grows with the number of vectors: neither would tell.
    """
    if len(vectors) < FEWEST_VECTORS:
        return None
    norms, width = np.linalg.norm(vectors, axis=1), vectors.shape[1]
    norm, spread = float(norms.mean()), float(norms.std() / norms.mean())
    if not 1 / MOST_LONGER < norm / known["norm"] < MOST_LONGER:
        return f"their mean length is {norm:.3g}, not {known['norm']:.3g}"
    low, high = sorted((spread, known["norm_spread"]))
    if low < UNIT_SPREAD and high > FREE_SPREAD:
        return "they are normalised, those were not" if low == spread else "they are not normalised, those were"
    basis = np.frombuffer(base64.b64decode(known["directions"]), "<f2").reshape(-1, width)
    chance, share = len(basis) / width, _share(unit(vectors), basis)
    structure = known["share"] - chance
    if structure > LEAST_STRUCTURE and share - chance < LEAST_ALIKE * structure:
        return f"{100 * share:.0f} % of them lie in the main directions of those, not {100 * known['share']:.0f} %"
    return None
