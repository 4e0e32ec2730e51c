"""What `comicseq inspect` costs against a plain read of the same store, and what looking for near copies costs and finds.

With `--store`, measures processor seconds of a plain read of all panel vectors with zarr and of the inspection, in turns.

With `--pages`, draws pages of books whose panels lie in a space like that of real comics (a power law of variances, a part
that the book has in common), lets some be copies of earlier pages with noise in every panel, and looks for them: processor
seconds of the sketches and of the search, peak memory, and the share of the copies that is found at each cosine.

    python -m benchmarks.inspection --store STORE --metadata JSON
    python -m benchmarks.inspection --pages 1000000
    python -m benchmarks.inspection --neighbours 100000

With `--neighbours`, draws strip vectors of the same kind, looks for the ten nearest of each as `comicseq export-table` does,
and prints the processor seconds and the share that comparing all with all finds, too, of 1,000 pages.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from modeling_comicseq.library.clusters import nearest
from modeling_comicseq.library.inspect import inspect_store
from modeling_comicseq.library.near_copies import PageSketches, nearest_before
from modeling_comicseq.stores.vectors import VectorStore
from modeling_comicseq.vectors import unit

# Panels a page of the COMICS store: 10 pages of one panel, 45 of two, …
COUNTS = (10, 45, 301, 2129, 629, 445, 296, 165, 28)
WIDTH, BLOCK = 512, 10_000
COSINES = (0.9, 0.92, 0.95, 0.98)
COPIES = 4_000


def compare_with_a_read(store: str, metadata: str, rounds: int) -> None:
    """Prints both times of each round, and their ratio."""
    opened = VectorStore.open(store)
    for number in range(rounds):
        start = time.process_time()
        for lo, hi in opened.blocks("panel"):
            np.asarray(opened.panels[lo:hi])
        read = time.process_time() - start
        start = time.process_time()
        report, _ = inspect_store(opened, metadata)
        took = time.process_time() - start
        print(
            f"round {number}: read {read:.2f} s, inspect {took:.2f} s, ratio {took / read:.1f}, found {report.counts}"
        )


def look_for_copies(pages: int) -> None:
    """Draws pages and prints what their copies cost and how many are found."""
    generator = np.random.default_rng(0)
    counts = generator.choice(np.arange(1, len(COUNTS) + 1), pages, p=np.asarray(COUNTS) / sum(COUNTS))
    spread = (np.arange(1, WIDTH + 1) ** -0.45).astype(np.float32)
    copies = np.sort(generator.choice(np.arange(pages // 2, pages), COPIES * len(COSINES), replace=False))
    originals = generator.choice(pages // 2, len(copies), replace=False)
    counts[copies] = counts[originals]
    kept: dict[int, np.ndarray] = {}
    wanted, copy_of = set(originals.tolist()), dict(zip(copies.tolist(), originals.tolist(), strict=True))
    cosine_of = dict(zip(copies.tolist(), np.tile(COSINES, COPIES).tolist(), strict=True))
    sketches = PageSketches(pages, len(COUNTS), WIDTH)
    sketching = 0.0
    for start in range(0, pages, BLOCK):
        own = counts[start : start + BLOCK]
        ends = np.cumsum(own)
        page = np.repeat(np.arange(len(own)), own)
        books = generator.standard_normal((-(-len(own) // 40), WIDTH), dtype=np.float32)
        panels = generator.standard_normal((len(page), WIDTH), dtype=np.float32) + 0.3 * books[page // 40]
        panels *= spread
        for number in range(start, start + len(own)):
            span = slice(ends[number - start] - own[number - start], ends[number - start])
            if number in wanted:
                kept[number] = panels[span].copy()
            if number in copy_of:
                original, cosine = kept[copy_of[number]], cosine_of[number]
                noise = generator.standard_normal(original.shape, dtype=np.float32) * spread
                noise -= (noise * original).sum(1, keepdims=True) / (original**2).sum(1, keepdims=True) * original
                noise *= np.linalg.norm(original, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
                panels[span] = cosine * original + np.sqrt(1 - cosine**2) * noise
        slot = np.arange(len(page)) - (ends - own)[page]
        begin = time.process_time()
        sketches.add(start, panels, page, slot)
        sketching += time.process_time() - begin
    begin = time.process_time()
    finished = sketches.finish()
    sketching += time.process_time() - begin
    begin = time.process_time()
    nearest = nearest_before(finished, sketches.counts, np.ones(pages, bool))
    searching = time.process_time() - begin
    found = nearest[copies] == originals
    shares = ", ".join(f"{100 * found[i :: len(COSINES)].mean():.2f} % at {each}" for i, each in enumerate(COSINES))
    others = (np.delete(nearest, copies) >= 0).sum()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{pages:,} pages, {counts.sum():,} panels: sketches {sketching:.0f} s, search {searching:.0f} s, peak {memory:,.0f} MB"
    )
    print(f"found of {COPIES:,} copies each: {shares}; other pairs to be compared by their vectors: {others:,}")


def look_for_neighbours(pages: int) -> None:
    """Draws strips and prints what their neighbours cost and how many of the nearest are among them."""
    generator = np.random.default_rng(0)
    spread = (np.arange(1, WIDTH + 1) ** -0.45).astype(np.float32)
    books = 0.5 * generator.standard_normal((-(-pages // 40), WIDTH), dtype=np.float32)
    strips = np.concatenate(
        [unit((generator.standard_normal((40, WIDTH), dtype=np.float32) + book) * spread) for book in books]
    )[:pages]
    begin = time.process_time()
    found, _ = nearest(strips, 10, np.ones(pages, bool), np.arange(pages))
    took = time.process_time() - begin
    asked = np.linspace(0, pages - 1, 1000).astype(int)
    cosines = strips[asked] @ strips.T
    cosines[np.arange(len(asked)), asked] = -1
    exact = np.argpartition(-cosines, 10, axis=1)[:, :10]
    shares = [
        len(set(one) & set(other)) / 10 for one, other in zip(exact.tolist(), found[asked].tolist(), strict=True)
    ]
    print(f"{pages:,} pages: {took:.0f} s, {100 * np.mean(shares):.1f} % of the ten nearest")


def main() -> None:
    """Measures what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store")
    parser.add_argument("--metadata")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pages", type=int)
    parser.add_argument("--neighbours", type=int)
    given = parser.parse_args()
    if given.store:
        compare_with_a_read(given.store, given.metadata, given.rounds)
    if given.pages:
        look_for_copies(given.pages)
    if given.neighbours:
        look_for_neighbours(given.neighbours)


if __name__ == "__main__":
    main()
