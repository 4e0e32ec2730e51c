"""The synthetic corpus: comics drawn from a linear-Gaussian world, written as a Stage 3 store.

Every vector of a book is a linear map of Gaussian variables, so the exact answer to any question about the corpus can
be computed (`modeling_comicseq.synthetic.optimum`). docs/synthetic_corpus.md holds the formulas.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import zarr
from scipy.linalg import block_diag

from ..errors import ComicSeqArgumentError, ComicSeqDataError
from ..files import write_text, written_folder
from ..outputs import check_output
from ..progress import progress_bar
from .layouts import book_layouts

FORMAT = "comicseq-synthetic-1"
ATTRIBUTE = "synthetic"
Channel = Literal["panel", "visual", "text", "caption"]
CHANNELS: tuple[Channel, ...] = ("panel", "visual", "text", "caption")
_LAYOUTS = 2**32 - 2  # their random numbers are none of a book's vectors


class Shares(NamedTuple):
    """How the unit variance of one kind of vector divides over its sources; the four add up to 1."""

    style: float
    scene: float
    action: float
    noise: float


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ComicSeqArgumentError(message)


@dataclass(frozen=True)
class SyntheticWorld:
    """The parameters of the generative model; equal parameters are the same world, whatever the corpus' seed and size.

    Attributes:
        width: Length of every stored vector (P = V = T = C), at least twice the latent dimension.
        style_dim: Dimension of a book's latent.
        scene_dim: Dimension of a page's latent.
        angles: Degrees by which each two-dimensional block of the action state turns from one panel to the next.
        damping: Share of the action state that survives a step, in (0, 1).
        surprise: Share of a panel's action variance that no other panel tells anything about, in [0, 1). Picture, text
            and caption all show it.
        visual: Variance shares of the picture-only vectors.
        text: Variance shares of the text-only vectors.
        caption: Variance shares of the panel captions.
        page_lengths: (panels on a page, probability) pairs.
        pages_per_book: Fewest and most pages of a book; uniform between.
        maps_seed: Seed of the orthonormal maps into the stored width.
    """

    width: int = 512
    style_dim: int = 5
    scene_dim: int = 2
    angles: tuple[float, ...] = (40.0, 110.0)
    damping: float = 0.97
    surprise: float = 0.15
    visual: Shares = Shares(style=0.25, scene=0.15, action=0.30, noise=0.30)
    text: Shares = Shares(style=0.30, scene=0.15, action=0.25, noise=0.30)
    caption: Shares = Shares(style=0.20, scene=0.25, action=0.25, noise=0.30)
    page_lengths: tuple[tuple[int, float], ...] = tuple(
        zip(range(2, 10), (0.04, 0.08, 0.16, 0.20, 0.20, 0.16, 0.10, 0.06), strict=True)
    )
    pages_per_book: tuple[int, int] = (8, 20)
    maps_seed: int = 0

    def __post_init__(self) -> None:
        """Refuses parameters that describe no world."""
        _require(
            self.width >= 2 * self.latent_dim,
            f"width is {self.width}, but picture and text need {2 * self.latent_dim} dimensions: use a larger width or"
            " fewer latent dimensions.",
        )
        _require(0 < self.damping < 1, f"damping is {self.damping}, but a stationary action needs a value in (0, 1).")
        _require(0 <= self.surprise < 1, f"surprise is {self.surprise}, but has to be in [0, 1).")
        for name in ("visual", "text", "caption"):
            shares = getattr(self, name)
            _require(
                min(shares) >= 0 and shares[3] != 0 and abs(sum(shares) - 1) <= 1e-9,
                f"{name} is {tuple(shares)}, but variance shares are non-negative, add up to 1 and leave some noise.",
            )
        lengths, probabilities = zip(*self.page_lengths, strict=True)
        _require(
            abs(sum(probabilities) - 1) <= 1e-9 and min(lengths) >= 1,
            f"page_lengths is {self.page_lengths}, but its probabilities have to add up to 1.",
        )
        _require(
            1 <= self.pages_per_book[0] <= self.pages_per_book[1],
            f"pages_per_book is {self.pages_per_book}, but has to be (fewest, most).",
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the parameters: vectors of worlds with one digest can be compared."""
        return _digest({"format": FORMAT, "world": asdict(self)})

    @property
    def action_dim(self) -> int:
        """Dimension of a panel's action state: two for each angle."""
        return 2 * len(self.angles)

    @property
    def latent_dim(self) -> int:
        """Dimension of everything a panel's vectors read: style, scene and action."""
        return self.style_dim + self.scene_dim + self.action_dim

    @property
    def max_panels(self) -> int:
        """Panels on the longest page."""
        return max(n for n, _ in self.page_lengths)

    @cached_property
    def _modality_maps(self) -> tuple[np.ndarray, np.ndarray]:
        """Orthonormal columns (P, L) of pictures and of text, orthogonal to each other."""
        draw = np.random.default_rng(self.maps_seed).standard_normal((self.width, 2 * self.latent_dim))
        q, r = np.linalg.qr(draw)
        q *= np.sign(np.diag(r))  # makes the decomposition unique, so that any LAPACK gives these maps
        return q[:, : self.latent_dim], q[:, self.latent_dim :]

    def map_of(self, channel: Channel) -> np.ndarray:
        """Orthonormal map (width, observed dimension) of the stored vectors of a kind: stored = map @ observed."""
        visual, text = self._modality_maps
        if channel == "panel":
            return np.concatenate([visual, text], axis=1)
        return {"visual": visual, "text": text, "caption": (visual + text) / np.sqrt(2)}[channel]

    def observe(self, vectors: np.ndarray, channel: Channel) -> np.ndarray:
        """Stored vectors (..., width) back to the low-dimensional observation (..., observed dimension), in float64."""
        return np.asarray(vectors, dtype=np.float64) @ self.map_of(channel)

    def loading(self, channel: Channel) -> np.ndarray:
        """Matrix (observed dimension, latent_dim) that reads a panel's latent."""
        if channel == "panel":
            return np.concatenate([self.loading("visual"), self.loading("text")]) / np.sqrt(2)
        dims, shares = (self.style_dim, self.scene_dim, self.action_dim), getattr(self, channel)[:3]
        loading = np.diag(np.repeat(np.sqrt(np.divide(shares, dims)), dims))
        if channel == "caption":
            # Captions tell the action in words of their own: a quarter turn in each block, so that the cosine with
            # the panel sees style and scene only.
            turn = np.eye(self.latent_dim)
            start = self.style_dim + self.scene_dim
            turn[start:, start:] = np.kron(np.eye(len(self.angles)), [[0.0, -1.0], [1.0, 0.0]])
            loading = loading @ turn
        return loading

    def noise(self, channel: Channel) -> np.ndarray:
        """Noise variances (observed dimension,) of a kind of vector."""
        if channel == "panel":
            return np.concatenate([self.noise("visual"), self.noise("text")]) / 2
        return np.full(self.latent_dim, getattr(self, channel).noise / self.latent_dim)

    def action_step(self) -> np.ndarray:
        """The damped rotation (action_dim, action_dim) of one panel: E[x_{t+1} | x_t] = step @ x_t."""
        angles = np.deg2rad(self.angles)
        return self.damping * block_diag(*([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in angles))

    def action_covariance(self, lag: int) -> np.ndarray:
        """Covariance (action_dim, action_dim) of the shown action of a panel with that of the panel `lag` before it."""
        if lag == 0:
            return np.eye(self.action_dim)
        power = np.linalg.matrix_power(self.action_step(), abs(lag))
        return (1 - self.surprise) * (power if lag > 0 else power.T)


DEMO_WORLD = SyntheticWorld()


@dataclass(frozen=True)
class SyntheticCorpus:
    """A world together with the seed and the number of books drawn from it.

    Books depend on (world, seed, book number) only, so a larger corpus begins with the books of a smaller one.
    """

    world: SyntheticWorld = DEMO_WORLD
    seed: int = 0
    num_books: int = 240

    def __post_init__(self) -> None:
        """Refuses a corpus without books or with a seed that NumPy does not take."""
        _require(self.num_books >= 1, f"num_books is {self.num_books}, but a corpus has at least one book.")
        _require(self.seed >= 0, f"seed is {self.seed}, but has to be 0 or more.")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the parameters, the seed and the size: another fingerprint is another corpus."""
        return _digest(self._description())

    def _description(self) -> dict[str, Any]:
        return {"format": FORMAT, "world": asdict(self.world), "seed": self.seed, "num_books": self.num_books}

    def provenance(self) -> dict[str, Any]:
        """JSON-ready description that `from_provenance` reads back."""
        return json.loads(json.dumps(self._description())) | {"fingerprint": self.fingerprint}

    @classmethod
    def from_provenance(cls, provenance: Mapping[str, Any]) -> SyntheticCorpus:
        """Rebuilds the corpus from a store's attributes or from a data set's provenance.

        Args:
            provenance: What `provenance()` returned, or any nesting of mappings that holds it under "synthetic".

        Raises:
            ComicSeqDataError: If there is no such description in it, or its fingerprint is not that of its content.
        """
        found = _find_description(provenance)
        if found is None:
            raise ComicSeqDataError(
                f'the provenance holds no "{ATTRIBUTE}" entry of format {FORMAT}, so the optimum is unknown: '
                "exact answers exist for data that `comicseq synthesize` wrote."
            )
        world = {name: _tuples(value) for name, value in found["world"].items()}
        world |= {name: Shares(*world[name]) for name in ("visual", "text", "caption")}
        corpus = cls(SyntheticWorld(**world), seed=found["seed"], num_books=found["num_books"])
        if corpus.fingerprint != found["fingerprint"]:
            raise ComicSeqDataError(
                f"the corpus' fingerprint is {corpus.fingerprint[:12]}, but its provenance says "
                f"{found['fingerprint'][:12]}: the description was changed, synthesize the corpus again."
            )
        return corpus

    def book_id(self, book: int) -> str:
        """The name of a book, distinct between seeds."""
        return f"synthetic-{self.seed}-{book:06d}"

    def page_sizes(self, book: int) -> np.ndarray:
        """Panels (pages,) of every page of a book."""
        return self._sizes(self._generator(book))

    def book_vectors(self, book: int) -> dict[Channel, list[np.ndarray]]:
        """All vectors of a book.

        Returns:
            For each kind of vector one float32 array (panels, width) a page.
        """
        world, rng = self.world, self._generator(book)
        sizes = self._sizes(rng)
        pages, longest = len(sizes), world.max_panels
        style = rng.standard_normal(world.style_dim)
        scene = rng.standard_normal((pages, world.scene_dim))
        shocks = rng.standard_normal((pages, longest, world.action_dim))
        surprises = rng.standard_normal((pages, longest, world.action_dim))
        noises = rng.standard_normal((3, pages, longest, world.latent_dim))

        action = np.empty_like(shocks)
        action[:, 0] = shocks[:, 0]  # the stationary distribution is the standard normal one
        step, rest = world.action_step().T, np.sqrt(1 - world.damping**2)
        for t in range(1, longest):
            action[:, t] = action[:, t - 1] @ step + rest * shocks[:, t]
        action = np.sqrt(1 - world.surprise) * action + np.sqrt(world.surprise) * surprises
        style = np.broadcast_to(style, (pages, longest, world.style_dim))
        scene = np.broadcast_to(scene[:, None], (pages, longest, world.scene_dim))
        latent = np.concatenate([style, scene, action], axis=-1)
        real = np.arange(longest) < sizes[:, None]
        latent, noises = latent[real], noises[:, real]
        channels: tuple[Channel, ...] = ("visual", "text", "caption")
        stored: dict[Channel, np.ndarray] = {}
        for channel, noise in zip(channels, noises, strict=True):
            observed = latent @ world.loading(channel).T + np.sqrt(world.noise(channel)) * noise
            stored[channel] = observed.astype(np.float32) @ world.map_of(channel).T.astype(np.float32)
        stored["panel"] = (stored["visual"] + stored["text"]) / np.float32(np.sqrt(2))
        ends = np.cumsum(sizes)[:-1]
        return {channel: np.split(vectors, ends) for channel, vectors in stored.items()}

    def _generator(self, book: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, book])

    def _sizes(self, rng: np.random.Generator) -> np.ndarray:
        fewest, most = self.world.pages_per_book
        pages = int(rng.integers(fewest, most + 1))
        lengths, probabilities = zip(*self.world.page_lengths, strict=True)
        return rng.choice(np.array(lengths), size=pages, p=probabilities)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _find_description(provenance: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if provenance.get("format") == FORMAT:
        return provenance
    for value in provenance.values():
        if isinstance(value, Mapping) and (found := _find_description(value)) is not None:
            return found
    return None


def synthesize(
    output: str | os.PathLike[str],
    *,
    num_books: int = 240,
    seed: int = 0,
    world: SyntheticWorld = DEMO_WORLD,
    slots: int = 16,
    dtype: Literal["float16", "float32"] = "float16",
    rows_per_chunk: int = 256,
    chunks_per_shard: int = 4,
    boxes: bool = False,
    progress: bool = True,
) -> SyntheticCorpus:
    """Writes a corpus as a Stage 3 store; memory is that of one shard and the metadata.

    Args:
        output: Folder to create, with `stage3_embeddings.zarr` (Zarr 3) and `stage3_metadata.json` in it.
        num_books: Number of books; a book has `world.pages_per_book` pages.
        seed: Seed of the books.
        world: The generative model.
        slots: Panel slots a page; those after a page's last panel hold garbage, as in stores of the field.
        dtype: Precision of the vectors. float16 is far finer than the world's noise.
        rows_per_chunk: Pages in a chunk.
        chunks_per_shard: Chunks in a file.
        boxes: Whether pages get drawn layouts: `panel_boxes` in the store, `reading_direction` in the metadata.
        progress: Whether to show a progress bar.

    Returns:
        The corpus, whose `provenance()` also stands in the store's attributes.

    Raises:
        ComicSeqDataError: If `output` exists, or pages do not fit `slots`.
    """
    output = Path(output)
    corpus = SyntheticCorpus(world, seed=seed, num_books=num_books)
    check_output(output, overwrite=None, folder=True)
    longest = world.max_panels
    _require(slots >= longest, f"slots is {slots}, but pages have up to {longest} panels: use more slots.")
    pages = sum(len(corpus.page_sizes(book)) for book in range(num_books))
    rows = min(rows_per_chunk, pages)
    shard = rows * min(chunks_per_shard, -(-pages // rows))
    with written_folder(output, overwrite=False) as folder:
        root = zarr.create_group(
            folder / "stage3_embeddings.zarr",
            zarr_format=3,
            attributes={
                ATTRIBUTE: corpus.provenance(),
                "encoders": dict.fromkeys(("visual", "text", "caption"), f"{FORMAT}/{world.digest[:16]}"),
                "fusion": "(visual + text) / sqrt(2)",
                "normalisation": "none",
            },
        )
        shapes: dict[str, Any] = {"shape": (pages, slots, world.width), "chunks": (rows, slots, world.width)}
        arrays = {
            channel: root.create_array(
                f"{channel}_embeddings", **shapes, shards=(shard, slots, world.width), dtype=dtype
            )
            for channel in CHANNELS
        }
        masks = root.create_array("panel_masks", shape=(pages, slots), chunks=(shard, slots), dtype=bool)
        if boxes:
            stands = root.create_array(
                "panel_boxes", shape=(pages, slots, 4), chunks=(shard, slots, 4), dtype="float32"
            )
        # One garbage page serves all padding: readers that do not look at the mask fail loudly on values this large.
        garbage = 50 * np.random.default_rng([seed, 2**32 - 1]).standard_normal((slots, world.width))
        drawn, metadata = _pages(corpus, boxes), []
        with progress_bar("Drawing pages", pages, progress) as advance:
            for start in range(0, pages, shard):
                entries, stored = zip(*itertools.islice(drawn, shard), strict=True)
                metadata += [json.dumps({"sequence_index": start + row, **e}) for row, e in enumerate(entries)]
                real = np.arange(slots) < np.array([entry["num_panels"] for entry in entries])[:, None]
                block = slice(start, start + len(entries))
                masks[block] = real
                for channel, array in arrays.items():
                    vectors = np.tile(garbage.astype(dtype), (len(entries), 1, 1))
                    vectors[real] = np.concatenate([page[channel] for page in stored])
                    array[block] = vectors
                if boxes:
                    layouts = np.full((len(entries), slots, 4), np.nan, np.float32)
                    layouts[real] = np.concatenate([page["boxes"] for page in stored])
                    stands[block] = layouts
                advance(len(entries))
        write_text(folder / "stage3_metadata.json", "[\n" + ",\n".join(metadata) + "\n]\n")
    return corpus


def _pages(corpus: SyntheticCorpus, boxes: bool) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Metadata, vectors and, if they are wanted, boxes of every page."""
    for book in range(corpus.num_books):
        vectors, book_id = corpus.book_vectors(book), corpus.book_id(book)
        rng = np.random.default_rng([corpus.seed, _LAYOUTS, book])
        layouts = book_layouts(rng, corpus.page_sizes(book)) if boxes else []
        for page, panels in enumerate(vectors["panel"]):
            names = {"book_id": book_id, "page_name": f"p{page:03d}.png", "canonical_id": f"{book_id}/p{page:03d}.png"}
            entry: dict[str, Any] = names | {"num_panels": len(panels)}
            stored: dict[str, np.ndarray] = {channel: pages[page] for channel, pages in vectors.items()}
            if boxes:
                entry["reading_direction"] = layouts[page].reading_direction
                stored["boxes"] = layouts[page].boxes
            yield entry, stored
