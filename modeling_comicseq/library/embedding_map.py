"""A 2-D map of strip vectors as a picture: their two main directions, one panel of the figure a store."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..files import written_file

__all__ = ["COLOURS", "MapData", "Plane", "draw_map", "project"]

# The books with most pages, in colours that colour-blind readers tell apart (Okabe and Ito); the others stay grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")


class MapData(NamedTuple):
    """What is drawn of one store.

    Attributes:
        title: Heading.
        points: Strip vectors in two dimensions `(N, 2)`.
        explained: Share of the variance in each of them `(2,)`.
        books: Book of each point.
    """

    title: str
    points: np.ndarray
    explained: np.ndarray
    books: np.ndarray


class Plane(NamedTuple):
    """The two main directions of some vectors, onto which others can be projected, too.

    Attributes:
        mean: Mean of the vectors `(D,)`.
        directions: Their first two principal components `(D, 2)`.
        explained: Shares of the variance in each `(2,)`.
    """

    mean: np.ndarray
    directions: np.ndarray
    explained: np.ndarray

    @classmethod
    def fit(cls, vectors: np.ndarray) -> Plane:
        """The plane of `vectors` (N, D).

        Of two opposite directions, the one whose largest entry is positive, so that a map looks the same on every machine.
        """
        width = vectors.shape[1]
        if not len(vectors):
            return cls(np.zeros(width), np.zeros((width, 2)), np.zeros(2))
        mean = vectors.mean(axis=0)
        centred = vectors.astype(np.float64) - mean
        variances, directions = np.linalg.eigh(centred.T @ centred / len(vectors))
        first = directions[:, ::-1][:, :2]
        first = first * np.sign(first[np.abs(first).argmax(axis=0), np.arange(first.shape[1])])
        explained = np.clip(variances[::-1][:2], 0, None) / max(np.clip(variances, 0, None).sum(), 1e-30)
        missing = 2 - first.shape[1]  # vectors of one number
        return cls(mean, np.pad(first, ((0, 0), (0, missing))), np.pad(explained, (0, missing)))

    def points(self, vectors: np.ndarray) -> np.ndarray:
        """Where `vectors` (N, D) stand on it `(N, 2)`."""
        return (vectors.astype(np.float64) - self.mean) @ self.directions


def project(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two principal components of `vectors` (N, D): points `(N, 2)` and their shares of the variance `(2,)`."""
    plane = Plane.fit(vectors)
    return plane.points(vectors), plane.explained


def draw_map(maps: list[MapData], path: Path) -> None:
    """Draws the maps side by side and writes them as PNG, beside the target first and then in its place."""
    # The object interface: pyplot would open a window system, or fail for want of one.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2 * len(maps), 6), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    for place, data in enumerate(maps):
        axes = figure.add_subplot(1, len(maps), place + 1)
        names, counts = np.unique(data.books, return_counts=True)
        largest = names[np.argsort(-counts, kind="stable")][: len(COLOURS)]
        others = ~np.isin(data.books, largest)
        size = float(np.clip(6000 / max(len(data.points), 1), 5, 30))
        x, y = data.points.T
        if others.any():
            axes.scatter(x[others], y[others], s=size, color="#c8c8c8", linewidths=0, label="other books")
        for name, colour in zip(largest, COLOURS, strict=False):
            own = data.books == name
            axes.scatter(x[own], y[own], s=3 * size, color=colour, linewidths=0, label=_short(name))
        axes.set_title(data.title, loc="left", fontsize=10)
        axes.set_xlabel(f"first principal component, {100 * data.explained[0]:.0f} % of the variance")
        axes.set_ylabel(f"second, {100 * data.explained[1]:.0f} %")
        axes.set_aspect("equal", adjustable="datalim")
        axes.spines[["top", "right"]].set_visible(False)
        if len(data.points):
            axes.legend(
                loc="upper left",
                bbox_to_anchor=(1, 1),
                fontsize=7,
                frameon=False,
                title="books with most pages",
                title_fontsize=7,
            )
    with written_file(path) as beside:
        figure.savefig(beside, format="png")


def _short(name: str) -> str:
    name = str(name).replace("$", r"\$")  # no formula
    return name if len(name) <= 28 else f"{name[:27]}…"
