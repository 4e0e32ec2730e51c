"""Compares engines for the index: FAISS, LanceDB and Milvus Lite on vectors drawn like those of a store.

Each engine runs in a process of its own, once to build its files and once to ask, so that its memory is its own. A vector
is a panel vector of the store, drawn at random, plus half a draw from the Gaussian of the store's covariance, brought to unit
length; the queries are further draws. Exact neighbours come from the products of all of them. The narrow filter takes 100
books of 20 rows each (`book in (…)`), the wide one a tenth of all rows (`genre = 3`).

    python -m benchmarks.search_engines --store shared/data/stage3/comics_text/stage3_embeddings.zarr --folder engines

FAISS (`faiss-cpu`) and Milvus Lite (`milvus-lite`, `pymilvus`) are no dependencies of the package; an engine that is not
installed is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

BLOCK = 50_000
QUERIES = 200
K = 10
BOOK_ROWS = 20
GENRES = 10
NARROW = [int(each) for each in np.random.default_rng(1).choice(2000, 100, replace=False)]


def draw(store: str, folder: Path, number: int, width: int) -> None:
    """Writes `rows.f32` and `queries.f32`, unit vectors, and `exact.npz`, the rows nearest to each query."""
    from modeling_comicseq.stores.vectors import VectorStore
    from modeling_comicseq.vectors import unit

    opened = VectorStore.open(store)
    panels, real = opened.read_panels(0, opened.pages)
    vectors = unit(panels[real])
    mean = vectors.mean(axis=0)
    factor = np.linalg.svd((vectors - mean) / np.sqrt(len(vectors)), full_matrices=False)
    spread = (factor.S[:, None] * factor.Vh).astype(np.float32)
    rng = np.random.default_rng(0)

    def some(count: int) -> np.ndarray:
        noise = rng.standard_normal((count, len(spread)), dtype=np.float32) @ spread
        return unit(vectors[rng.integers(len(vectors), size=count)] + 0.5 * noise)

    queries = some(QUERIES)
    folder.mkdir(parents=True, exist_ok=True)
    queries.tofile(folder / "queries.f32")
    best = {name: (np.full((QUERIES, K), -2.0, np.float32), np.zeros((QUERIES, K), int)) for name in FILTERS}
    with open(folder / "rows.partial", "wb") as file:
        for lo in range(0, number, BLOCK):
            block = some(min(BLOCK, number - lo))
            file.write(block.tobytes())
            rows = np.arange(lo, lo + len(block))
            scores = queries @ block.T
            for name, keep in FILTERS.items():
                allowed = np.where(keep(rows), scores, -2)
                both = np.concatenate([best[name][0], allowed], axis=1)
                places = np.concatenate([best[name][1], np.broadcast_to(rows, scores.shape)], axis=1)
                order = np.argsort(-both, axis=1, kind="stable")[:, :K]
                best[name] = np.take_along_axis(both, order, 1), np.take_along_axis(places, order, 1)
    np.savez(folder / "exact.npz", **{name: places for name, (_, places) in best.items()})
    os.replace(folder / "rows.partial", folder / "rows.f32")


FILTERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda rows: np.ones(len(rows), bool),
    "narrow": lambda rows: np.isin(rows // BOOK_ROWS, NARROW),
    "wide": lambda rows: rows // BOOK_ROWS % GENRES == 3,
}


def blocks(folder: Path, width: int):
    """Row numbers and vectors, block by block, read and not mapped: mapped pages would count as memory."""
    number = (folder / "rows.f32").stat().st_size // (4 * width)
    with open(folder / "rows.f32", "rb") as file:
        for lo in range(0, number, BLOCK):
            count = min(BLOCK, number - lo)
            yield np.arange(lo, lo + count), np.fromfile(file, np.float32, count * width).reshape(count, width)


class Faiss:
    """FAISS by a string factory, saved as one file and read into memory; row numbers stand for themselves."""

    def __init__(self, factory: str):
        self.factory = factory

    def build(self, folder: Path, target: Path, width: int) -> None:
        import faiss

        target.mkdir()
        index = faiss.index_factory(width, self.factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            nlist = faiss.extract_index_ivf(index).nlist
            number = (folder / "rows.f32").stat().st_size // (4 * width)
            step = max(1, number // (40 * nlist))
            index.train(np.concatenate([vectors[::step] for _, vectors in blocks(folder, width)]))
        for _, vectors in blocks(folder, width):
            index.add(vectors)
        faiss.write_index(index, str(target / "index.faiss"))

    def open(self, target: Path, number: int) -> Callable[[np.ndarray, str], np.ndarray]:
        import faiss

        index = faiss.read_index(str(target / "index.faiss"))
        rows = np.arange(number)
        selectors = {name: faiss.IDSelectorBatch(rows[keep(rows)]) for name, keep in FILTERS.items() if name != "none"}
        if "IVF" in self.factory:
            clusters = faiss.extract_index_ivf(index)
            clusters.nprobe = nprobe = max(8, clusters.nlist // 4)

        def ask(query: np.ndarray, name: str) -> np.ndarray:
            options = {}
            if name != "none":
                kind = faiss.SearchParametersIVF if "IVF" in self.factory else faiss.SearchParameters
                options["params"] = kind(sel=selectors[name], **({"nprobe": nprobe} if "IVF" in self.factory else {}))
            return index.search(query[None], K, **options)[1][0]

        return ask


class Lance:
    """LanceDB: a table on the disk, and an index of the vectors, or none."""

    def __init__(self, dtype: str, index: str | None, **ask: int):
        self.dtype, self.index, self.ask_options = dtype, index, ask

    def build(self, folder: Path, target: Path, width: int) -> None:
        import lancedb
        import lancedb.index
        import pyarrow as pa

        vector = pa.list_(pa.float16() if self.dtype == "float16" else pa.float32(), width)
        schema = pa.schema([("row", pa.int64()), ("book", pa.int64()), ("genre", pa.int64()), ("vector", vector)])

        def batches():
            for rows, vectors in blocks(folder, width):
                flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(self.dtype).ravel()), width)
                books = rows // BOOK_ROWS
                yield pa.record_batch([pa.array(rows), pa.array(books), pa.array(books % GENRES), flat], schema)

        table = lancedb.connect(str(target)).create_table("rows", schema=schema)
        table.add(pa.RecordBatchReader.from_batches(schema, batches()))
        table.create_index("book", config=lancedb.index.BTree())
        table.create_index("genre", config=lancedb.index.Bitmap())
        if self.index:
            config = getattr(lancedb.index, self.index)(distance_type="cosine")
            table.create_index("vector", config=config)

    def open(self, target: Path, number: int) -> Callable[[np.ndarray, str], np.ndarray]:
        import lancedb

        table = lancedb.connect(str(target)).open_table("rows")
        where = {"narrow": f"book in ({', '.join(map(str, NARROW))})", "wide": "genre = 3"}

        def ask(query: np.ndarray, name: str) -> np.ndarray:
            search = table.search(query).distance_type("cosine").select(["row", "_distance"]).limit(K)
            if self.index:
                for option, value in self.ask_options.items():
                    search = getattr(search, option)(value)
            if name != "none":
                search = search.where(where[name], prefilter=True)
            return search.to_arrow()["row"].to_numpy()

        return ask


class Milvus:
    """Milvus Lite, which takes float32 alone."""

    def __init__(self, index: str, **params: int):
        self.index, self.params = index, params

    def build(self, folder: Path, target: Path, width: int) -> None:
        from pymilvus import DataType, MilvusClient

        client = MilvusClient(str(target))
        schema = client.create_schema(auto_id=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("book", DataType.INT64)
        schema.add_field("genre", DataType.INT64)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=width)
        params = client.prepare_index_params()
        build = {key: value for key, value in self.params.items() if key in ("nlist", "M", "efConstruction")}
        params.add_index("vector", index_type=self.index, metric_type="COSINE", params=build)
        client.create_collection("rows", schema=schema)
        for rows, vectors in blocks(folder, width):
            for lo in range(0, len(rows), 5000):  # a call takes 64 MB
                part = [
                    {
                        "row": int(row),
                        "book": int(row // BOOK_ROWS),
                        "genre": int(row // BOOK_ROWS % GENRES),
                        "vector": vector,
                    }
                    for row, vector in zip(rows[lo : lo + 5000], vectors[lo : lo + 5000], strict=True)
                ]
                client.insert("rows", part)
        client.create_index("rows", params)
        client.load_collection("rows")
        client.close()

    def open(self, target: Path, number: int) -> Callable[[np.ndarray, str], np.ndarray]:
        from pymilvus import MilvusClient

        client = MilvusClient(str(target))
        client.load_collection("rows")
        where = {"none": "", "narrow": f"book in {NARROW}", "wide": "genre == 3"}
        search = {key: value for key, value in self.params.items() if key in ("nprobe", "ef")}

        def ask(query: np.ndarray, name: str) -> np.ndarray:
            options = {"metric_type": "COSINE", "params": search}
            found = client.search("rows", data=[query], limit=K, filter=where[name], search_params=options)
            return np.asarray([hit["row"] for hit in found[0]])

        return ask


ENGINES: dict[str, Any] = {
    "FAISS Flat, float32": Faiss("Flat"),
    "FAISS IVF2000,SQ8": Faiss("IVF2000,SQ8"),
    "LanceDB without an index, float32": Lance("float32", None),
    "LanceDB without an index, float16": Lance("float16", None),
    "LanceDB IVF_PQ, float16": Lance("float16", "IvfPq", nprobes=50, refine_factor=10),
    "LanceDB IVF_RQ, float16": Lance("float16", "IvfRq", nprobes=50, refine_factor=10),
    "LanceDB IVF_SQ, float16": Lance("float16", "IvfSq", nprobes=50, refine_factor=2),
    "LanceDB IVF_HNSW_SQ, float16": Lance("float16", "HnswSq", nprobes=20, ef=200, refine_factor=2),
    "LanceDB IVF_SQ, float32": Lance("float32", "IvfSq", nprobes=50, refine_factor=2),
    "LanceDB IVF_PQ, float32": Lance("float32", "IvfPq", nprobes=50, refine_factor=10),
    "LanceDB IVF_HNSW_SQ, float32": Lance("float32", "HnswSq", nprobes=20, ef=200, refine_factor=2),
    "Milvus Lite IVF_SQ8, float32": Milvus("IVF_SQ8", nlist=2000, nprobe=500),
    "Milvus Lite HNSW, float32": Milvus("HNSW", M=16, efConstruction=200, ef=200),
    "Milvus Lite FLAT, float32": Milvus("FLAT"),
}


def child(name: str, phase: str, folder: Path, width: int) -> dict[str, Any]:
    """What one phase of one engine takes, in this process."""
    engine, target = ENGINES[name], folder / "engine.db"
    number = (folder / "rows.f32").stat().st_size // (4 * width)
    found: dict[str, Any] = {}
    start = time.perf_counter()
    if phase == "build":
        shutil.rmtree(target, ignore_errors=True)
        engine.build(folder, target, width)
        found["build_s"] = time.perf_counter() - start
        files = [path for path in [target, *target.rglob("*")] if path.is_file()]
        found["disk_MB"] = sum(path.stat().st_size for path in files) / 1e6
    else:
        queries = np.fromfile(folder / "queries.f32", np.float32).reshape(-1, width)
        exact = np.load(folder / "exact.npz")
        ask = engine.open(target, number)
        ask(queries[0], "none")
        found["open_s"] = time.perf_counter() - start
        for filter_name in FILTERS:
            times, hits = [], []
            # What reads every vector is as fast for one query as for another.
            asked = len(queries) if "IVF" in name or "HNSW" in name else len(queries) // 5
            for query, right in zip(queries[:asked], exact[filter_name], strict=False):
                before = time.perf_counter()
                rows = ask(query, filter_name)
                times.append(time.perf_counter() - before)
                hits.append(len(set(rows.tolist()) & set(right.tolist())) / K)
            found[filter_name] = {
                "recall": float(np.mean(hits)),
                "median_ms": 1e3 * float(np.median(times)),
                "p95_ms": 1e3 * float(np.quantile(times, 0.95)),
            }
    found[f"{phase}_MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    found[f"{phase}_MB"] += resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    return found


def run_child(name: str, phase: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The same in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.search_engines", "--child", name, phase]
    words += ["--folder", str(arguments.folder), "--width", str(arguments.width)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=arguments.limit)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def show(results: dict[str, Any], console: Console) -> None:
    """Prints the table."""
    table = Table()
    for column in ("engine", "build s", "MB disk", "MB to build", "MB to ask", "open s"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    for name in FILTERS:
        table.add_column(f"{name}: recall, ms (95 %)", justify="right")
    for name, found in results.items():
        if "error" in found:
            table.add_row(name, found["error"])
            continue
        cells = [f"{found[key]:,.0f}" for key in ("build_s", "disk_MB", "build_MB", "ask_MB")]
        cells.append(f"{found['open_s']:.2f}")
        for each in (found[key] for key in FILTERS):
            cells.append(f"{each['recall']:.3f}, {each['median_ms']:.1f} ({each['p95_ms']:.1f})")
        table.add_row(name, *cells)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", help="the store whose vectors are drawn like")
    parser.add_argument("--folder", type=Path, required=True, help="where vectors and indexes are written")
    parser.add_argument("--number", type=int, default=1_000_000, help="vectors (default: a million)")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--engines", nargs="*", help="beginnings of the engines' names (default: all)")
    parser.add_argument("--limit", type=int, default=3600, help="seconds that one phase of one engine may take")
    parser.add_argument("--output", type=Path, help="JSON file for the figures, to which further engines are added")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(*arguments.child, arguments.folder, arguments.width)))
        return
    if not (arguments.folder / "rows.f32").exists():
        draw(arguments.store, arguments.folder, arguments.number, arguments.width)
    results: dict[str, Any] = {}
    if arguments.output and arguments.output.exists():
        results = json.loads(arguments.output.read_text())
    for name in ENGINES:
        if arguments.engines and not any(name.startswith(each) for each in arguments.engines):
            continue
        try:
            results[name] = run_child(name, "build", arguments)
            if "error" not in results[name]:
                results[name] |= run_child(name, "ask", arguments)
        except subprocess.TimeoutExpired:
            results[name] = {"error": f"took more than {arguments.limit} seconds"}
        shutil.rmtree(arguments.folder / "engine.db", ignore_errors=True)
        print(name, json.dumps(results[name]), file=sys.stderr, flush=True)
        if arguments.output:
            arguments.output.write_text(json.dumps(results, indent=2))
    show(results, Console(width=200))


if __name__ == "__main__":
    main()
