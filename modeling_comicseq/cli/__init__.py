"""The `comicseq` command: each subcommand parses its arguments and calls one function of the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="ComicSeq: comics as sequences of panels. Stage 3 store in, contextualised panel and strip vectors out.",
)


@app.callback()
def main() -> None:
    """Makes typer treat every command as a subcommand, however few there are."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the command with the error's message and exit code 1, without a traceback, where the input is at fault."""
    from modeling_comicseq.errors import ComicSeqError

    try:
        yield
    except (ComicSeqError, OSError) as error:
        typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        raise typer.Exit(130) from None


@app.command()
def convert(
    embeddings: Annotated[str, typer.Option(help="Stage 3 Zarr store: a local path or any fsspec URL.")],
    metadata: Annotated[str, typer.Option(help="Its metadata: a JSON list with one object a page; path or URL.")],
    output: Annotated[Path, typer.Option(help="Folder of the data set to create.")],
    dtype: Annotated[Literal["float16", "float32"], typer.Option(help="Precision of the vectors.")] = "float16",
    fractions: Annotated[
        tuple[float, float, float],
        typer.Option(help="Shares of train, validation and test among the books, by a hash of the book's id."),
    ] = (0.8, 0.1, 0.1),
    split_books: Annotated[
        Path | None,
        typer.Option(
            "--split-books",
            "--split_books",
            help='JSON file `{"train": [...], "validation": [...], "test": [...]}` of book ids, instead of --fractions. '
            "Without a train list, all other books are trained on.",
        ),
    ] = None,
    window: Annotated[
        int, typer.Option(min=1, help="Most panels of a row; pages with more become overlapping windows.")
    ] = 16,
    stride: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Panels from one window's start to the next; at most --window.",
            show_default="half of --window",
        ),
    ] = None,
    num_proc: Annotated[int, typer.Option("--num-proc", "--num_proc", min=1, help="Processes to convert with.")] = 1,
    on_error: Annotated[
        Literal["stop", "skip"],
        typer.Option(
            "--on-error",
            "--on_error",
            help="What a page with a fault does: stop the conversion, or be left out and listed in `skipped.json`.",
        ),
    ] = "stop",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an output made from other input or with other options.")
    ] = False,
) -> None:
    """Convert a **Stage 3 store** to an Arrow data set for training, evaluation and tuning.

    The output opens with `datasets.load_from_disk`: one row a page, only its real panels, split into train,
    validation and test by book. Every page is checked on the way. The output appears complete or not at all; after an
    interrupt, the same command goes on from the parts that are finished.

    Example: `comicseq convert --embeddings data/stage3_embeddings.zarr --metadata data/stage3_metadata.json
    --output data/arrow --num-proc 4`
    """
    from rich.console import Console
    from rich.table import Table

    with one_line_errors():
        from modeling_comicseq.data.conversion import convert_store
        from modeling_comicseq.stores.provenance import read_provenance

        convert_store(
            embeddings,
            metadata,
            output,
            dtype=dtype,
            fractions=fractions,
            split_books=split_books,
            window=window,
            stride=stride,
            num_proc=num_proc,
            on_error=on_error,
            overwrite=overwrite,
        )
        provenance = read_provenance(output)
    table = Table("split", "books", "pages", "panels", "rows", title=str(output))
    for split, counts in provenance["counts"].items():
        table.add_row(split, *(f"{counts[key]:,}" for key in ("books", "pages", "panels", "rows")))
    Console().print(table)
    skipped = provenance["conversion"]["skipped"]
    if skipped:
        typer.echo(f"{skipped:,} pages left out, see {output / 'skipped.json'}")


@app.command()
def synthesize(
    output: Annotated[
        Path, typer.Option(help="Folder to create: `stage3_embeddings.zarr` and `stage3_metadata.json` in it.")
    ],
    books: Annotated[
        int, typer.Option(min=1, help="Number of books; a book has 8 to 20 pages of 2 to 9 panels.")
    ] = 240,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the books; the same seed gives the same books.")] = 0,
    width: Annotated[int, typer.Option(help="Length of the panel, picture, text and caption vectors.")] = 512,
    slots: Annotated[int, typer.Option(help="Panel slots a page; the unused ones are filled with garbage.")] = 16,
    dtype: Annotated[Literal["float16", "float32"], typer.Option(help="Precision of the stored vectors.")] = "float16",
    rows_per_chunk: Annotated[int, typer.Option(min=1, help="Pages in a chunk of the store.")] = 256,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
) -> None:
    """Write a **synthetic corpus** as a Stage 3 store: comics from a known world, whose questions have exact answers.

    The store has fused, picture-only, text-only and caption vectors, and names its world and fingerprint in its
    attributes, so that `run_eval.py` can set a model's score beside the Bayes optimum.

    Example: `comicseq synthesize --output data/demo --books 240 --seed 0`, then
    `comicseq convert --embeddings data/demo/stage3_embeddings.zarr --metadata data/demo/stage3_metadata.json
    --output data/demo-arrow`.
    """
    from modeling_comicseq.synthetic.world import SyntheticWorld
    from modeling_comicseq.synthetic.world import synthesize as write

    with one_line_errors():
        corpus = write(
            output,
            num_books=books,
            seed=seed,
            world=SyntheticWorld(width=width),
            slots=slots,
            dtype=dtype,
            rows_per_chunk=rows_per_chunk,
            progress=progress,
        )
    typer.echo(f"{output}: {books} books, fingerprint {corpus.fingerprint}")


@app.command()
def encode(
    model: Annotated[str, typer.Option(help="Any ComicSeq checkpoint: a folder or a model on the Hub.")],
    embeddings: Annotated[str, typer.Option(help="Stage 3 Zarr store: a local path or any fsspec URL.")],
    metadata: Annotated[
        str,
        typer.Option(
            help="Its metadata: a JSON list with one object a page; path or URL. Pages that it does not name are left out."
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            help="Stage 5 Zarr store to write: a local path or any fsspec URL. `NAME_metadata.json` is written beside "
            "`NAME.zarr` or `NAME_embeddings.zarr`."
        ),
    ],
    dtype: Annotated[Literal["float32", "float16"], typer.Option(help="Precision of the stored vectors.")] = "float32",
    zarr_format: Annotated[
        Literal["3", "2"],
        typer.Option("--zarr-format", "--zarr_format", help="Zarr format of the store; 2 for older readers."),
    ] = "3",
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            "--batch_size",
            min=1,
            help="Pages that are encoded together.",
            show_default="256, on a GPU 2048",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an output made from other input or with other options.")
    ] = False,
) -> None:
    """Encode a library of comics into a **Stage 5 store**: one vector a panel in its context, and one a page.

    The store has one row for each page of the metadata, in the order of the Stage 3 store: `contextualized_panels
    (pages, slots, D)`, `strip_embeddings (pages, D)`, `panel_masks (pages, slots)`, and beside it the metadata of those
    rows. Pages with more panels than the model takes are encoded in overlapping windows whose panels are averaged. Every
    page is checked on the way. The output appears complete or not at all; after an interrupt, the same command goes on
    from the parts that are finished. A GPU is used where there is one.

    Example: `comicseq encode --model outputs/model --embeddings data/stage3_embeddings.zarr
    --metadata data/stage3_metadata.json --output data/stage5_embeddings.zarr`

    Several GPUs or processes: `accelerate launch --multi_gpu --num_processes 2 --num_machines 1
    -m modeling_comicseq.cli encode …`; without a GPU, this starts two processes on the processor.
    """
    with one_line_errors():
        from accelerate import PartialState

        from modeling_comicseq.library.encode import encode_store

        encoded = encode_store(
            model,
            embeddings,
            metadata,
            output,
            dtype=dtype,
            zarr_format=int(zarr_format),
            batch_size=batch_size,
            overwrite=overwrite,
        )
    if PartialState().is_main_process:
        typer.echo(f"{output}: {encoded['pages']:,} pages, {encoded['panels']:,} panels")
    PartialState().destroy_process_group()


@app.command()
def search(
    store: Annotated[
        str, typer.Option(help="Stage 5 store; a Stage 3 store is searched by the means of its panels. Path or URL.")
    ],
    metadata: Annotated[
        str | None, typer.Option(help="Its metadata, path or URL.", show_default="the JSON beside the store")
    ] = None,
    page: Annotated[str | None, typer.Option(help="Query: a page by its `canonical_id` or its row.")] = None,
    panel: Annotated[str | None, typer.Option(help="Query: a panel as ROW:SLOT.")] = None,
    vector: Annotated[Path | None, typer.Option(help="Query: a vector in an .npy file, of the same model.")] = None,
    level: Annotated[
        Literal["strip", "panel"] | None,
        typer.Option(help="What to find: pages or panels.", show_default="panel for --panel, else strip"),
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="How many.")] = 10,
    index: Annotated[
        Path | None, typer.Option(help="Folder of the saved indexes.", show_default="STORE.index beside the store")
    ] = None,
    factory: Annotated[
        str,
        typer.Option(
            help="FAISS' string factory, for example HNSW32. `auto`: exact (Flat) up to 1 GiB of vectors, then clusters "
            "of one byte a number (IVF…,SQ8)."
        ),
    ] = "auto",
    output: Annotated[Path | None, typer.Option(help="JSON file for the results.")] = None,
) -> None:
    """Find the pages or panels **nearest** to a page, a panel or a vector, by cosine.

    The query itself is not among the results. Strip and panel vectors lie in different spaces and are not compared:
    `--page --level panel` finds panels near one of the page's panels, `--panel --level strip` ranks pages by their
    nearest panel. The first search builds an index and saves it; it is built again when the store changes. Needs FAISS:
    `pip install 'comicseq[search]'`.

    Example: `comicseq search --store data/stage5.zarr --page library/book_1/page_007.jpg -k 5`
    """
    from rich.console import Console
    from rich.table import Table

    with one_line_errors():
        from modeling_comicseq.library.search import parse_panel, read_vector, write_hits
        from modeling_comicseq.library.search import search as find

        hits, opened = find(
            store,
            metadata,
            page=page,
            panel=None if panel is None else parse_panel(panel),
            vector=None if vector is None else read_vector(vector),
            level=level,
            k=k,
            index=index,
            factory=factory,
            progress=True,
        )
        name, query = next(
            (name, value)
            for name, value in {"page": page, "panel": panel, "vector": vector}.items()
            if value is not None
        )
        if output:
            found = level or ("panel" if panel else "strip")
            write_hits(hits, opened, {name: str(query), "level": found, "k": k}, output)
    table = Table(title=f"nearest to {name} {query}")
    for column in ("rank", "page", "book", "row", "slot", "cosine"):
        table.add_column(column, justify="left" if column in ("page", "book") else "right", overflow="fold")
    for hit in hits:
        slot = "" if hit.slot is None else str(hit.slot)
        table.add_row(str(hit.rank), hit.page_id, hit.book_id, str(hit.row), slot, f"{hit.score:.3f}")
    Console().print(table)


@app.command()
def inspect(
    stores: Annotated[list[str], typer.Argument(help="Stage 5 or Stage 3 stores, paths or URLs.", metavar="STORE…")],
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            help="Metadata: once for all stores, or once each in their order.", show_default="beside each store"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for inspect.json and map.png.", show_default="STORE.inspect beside the first store"),
    ] = None,
    pages: Annotated[
        int, typer.Option(min=10, help="Most pages to look at; of a larger store, whole books are drawn.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of that draw.")] = 0,
) -> None:
    """Tell whether an **embedding space is healthy**, collapsed, or only marks which page a panel is from.

    Prints figures and a reading in plain words for each store, side by side, and writes them with a 2-D map of the strip
    vectors. Effective rank, mean cosines within pages, within books and between books, how often the nearest page is of
    the same book, dead dimensions and copies; the strip vectors of a Stage 3 store are the means of its panels.

    Example: `comicseq inspect data/stage3_embeddings.zarr data/stage5.zarr --output outputs/inspection`
    """
    from rich.console import Console

    with one_line_errors():
        from modeling_comicseq.library.inspect import inspect_stores, print_reports

        reports, folder = inspect_stores(stores, metadata or [], output, pages=pages, seed=seed, progress=True)
        print_reports(reports, Console())
    typer.echo(f"Written: {folder / 'inspect.json'}, {folder / 'map.png'}")


@app.command()
def order(
    model: Annotated[
        str, typer.Option(help="Checkpoint with a trained reading-order head: folder or name on the Hub.")
    ],
    output: Annotated[Path, typer.Option(help="JSON file to write: one object a page.")],
    embeddings: Annotated[str | None, typer.Option(help="Stage 3 Zarr store: a local path or any fsspec URL.")] = None,
    metadata: Annotated[str | None, typer.Option(help="The store's metadata, path or URL.")] = None,
    pages: Annotated[
        Path | None,
        typer.Option(help="Instead of a store, a JSON list of objects with `panel_embeddings`, a list of vectors."),
    ] = None,
) -> None:
    """Refine the **reading order** of pages: a permutation of each page's panels, with a confidence.

    `order` lists the panels' present places as they are read: `[2, 0, 1]` begins with the third. The model is shown no
    order. `confidence` is the mean probability that the model gives the order's statements (each panel is directly
    followed by the next; for a model trained on precedence: comes before every later one), that is the share of them it
    expects to be right; `given_confidence` is the same for the order in which the panels came; `agreement` is the share
    of the new order's statements that the given one makes, too.

    A model can be surer than it should be, on books it was not trained on above all. Where most given orders are right,
    the mean agreement shows it: it should be near the mean confidence. Do not replace orders if it is far below.

    Pages with more panels than the model's `max_position_embeddings` keep their order and have no confidence.

    Example: `comicseq order --model outputs/model --embeddings stage3_embeddings.zarr --metadata stage3_metadata.json
    --output orders.json`
    """
    from rich.console import Console
    from rich.table import Table

    with one_line_errors():
        from modeling_comicseq.errors import ComicSeqArgumentError
        from modeling_comicseq.library.order import order_json, order_store

        if pages is not None and embeddings is None and metadata is None:
            summary = order_json(model, pages, output)
        elif pages is None and embeddings is not None and metadata is not None:
            summary = order_store(model, embeddings, metadata, output)
        else:
            raise ComicSeqArgumentError("Give either --embeddings and --metadata, or --pages.")
    columns = ("pages", "order changed", "too long, left", "mean confidence", "mean agreement")
    table = Table(*columns, title=str(output))
    means = ("-" if mean is None else f"{mean:.3f}" for mean in (summary.mean_confidence, summary.mean_agreement))
    table.add_row(f"{summary.pages:,}", f"{summary.changed:,}", f"{summary.too_long:,}", *means)
    console = Console()
    console.print(table)
    least = Table("least sure", "confidence")
    for value, name in summary.least_sure:
        least.add_row(name, f"{value:.3f}")
    if summary.least_sure:
        console.print(least)


@app.command("import-checkpoint")
def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="`best_model.pt` of the original Stage 4 code.")],
    output: Annotated[Path, typer.Argument(help="Folder of the ComicSeq checkpoint to create.")],
    heads: Annotated[
        int | None,
        typer.Option(min=1, help="Number of attention heads.", show_default="`nhead` of the arguments in the file"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing folder.")] = False,
) -> None:
    """Turn a checkpoint of the **original Stage 4 code** into a ComicSeq checkpoint.

    The encoder and the heads' modules compute what they did. What such a checkpoint never trained is listed, here and
    in the README of the new folder. Of the file only tensors and plain values are read; a pickle with code is refused.

    Example: `comicseq import-checkpoint best_model.pt outputs/imported`
    """
    with one_line_errors():
        from modeling_comicseq.checkpoints.importing import import_checkpoint as import_file

        report = import_file(file, output, heads, overwrite)
    config = report.config
    typer.echo(
        f"{output}: {report.imported} weights, width {config.hidden_size}, {config.num_hidden_layers} layers,"
        f" {config.num_attention_heads} heads, feed-forward {config.intermediate_size}"
    )
    typer.echo("Never trained, and set to zero or the identity:")
    for name in report.untrained:
        typer.echo(f"  {name}")
    typer.echo(
        "Never trained either: the heads on the encoder's states, which the task classes and pipelines give them. Train"
        f" further before you ask them; {output / 'README.md'} says more."
    )


@app.command()
def export(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder, or name on the Hub.")],
    output: Annotated[Path, typer.Argument(help="Folder to create.")],
    task: Annotated[
        str | None,
        typer.Option(
            help="`encoder`, `all` heads, or one head: panel_picking, character_coherence, visual_closure, text_closure, "
            "caption_relevance, text_cloze, reading_order.",
            show_default="the class that the checkpoint has",
        ),
    ] = None,
    dtype: Annotated[
        Literal["float32", "float16", "bfloat16"] | None,
        typer.Option(help="Precision of the weights.", show_default="that of the checkpoint"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing folder.")] = False,
) -> None:
    """Make a folder that is **ready for the Hub** from a checkpoint of a training run.

    It holds the weights of one class in safetensors, its configuration and code, pipelines and endpoint handler, and the
    card: nothing of the optimiser or the trainer. A single head loads with `AutoModelForMultipleChoice`, the encoder with
    `AutoModel`.

    Example: `comicseq export outputs/model outputs/picking --task panel_picking --dtype float16`
    """
    with one_line_errors():
        from modeling_comicseq.checkpoints.export import export_checkpoint

        report = export_checkpoint(checkpoint, output, task, dtype, overwrite)
    typer.echo(
        f"{output}: {report.class_name}, {report.num_parameters:,} weights in {report.dtype},"
        f" {report.num_bytes / 1e6:.1f} MB; loads with {report.loader}"
    )


@app.command()
def questions(
    dataset: Annotated[Path, typer.Option(help="Folder of the Arrow data set that `comicseq convert` wrote.")],
    output: Annotated[Path, typer.Option(help="Folder of the question set to create.")],
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="Split to ask about.")] = "test",
    tasks: Annotated[
        list[str],
        typer.Option(help="Tasks, or `all` that the data can serve; several: repeat, or separate by commas."),
    ] = ["all"],  # noqa: B006
    protocol: Annotated[
        list[str],
        typer.Option(
            help="Where wrong candidates come from: same_book, cross_book, later_panels, or in_page (leaky); several: "
            "repeat, or separate by commas."
        ),
    ] = ["same_book", "cross_book"],  # noqa: B006
    num_candidates: Annotated[
        int,
        typer.Option("--num-candidates", "--num_candidates", min=2, help="Candidates, the right one included."),
    ] = 5,
    repeats: Annotated[
        int, typer.Option(min=1, help="Questions that each page asks in each task; in reading order, its shuffles.")
    ] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the questions.")] = 0,
) -> None:
    """Draw **questions** about a data set once and freeze them, so that any model can be asked the same ones.

    The output opens with `datasets.load_from_disk`: one row a question, which names panels of the data set by their
    number. `questions.json` in it has the fingerprints: of the questions, and of the split that they are about, which is
    checked when they are asked. `run_eval.py` with the same arguments asks the same questions without a frozen set.

    Example: `comicseq questions --dataset data/arrow --output data/questions`, then
    `python run_eval.py --model outputs/model --dataset data/arrow --questions data/questions`
    """
    from rich.console import Console
    from rich.table import Table

    with one_line_errors():
        from modeling_comicseq.checks import check_protocols
        from modeling_comicseq.data.opening import open_split
        from modeling_comicseq.evaluation.question_sets import freeze
        from modeling_comicseq.evaluation.results import LEAKY
        from modeling_comicseq.tasks import get_tasks

        names, protocols = ([name for item in items for name in item.split(",")] for items in (tasks, protocol))
        check_protocols(protocols)
        about = freeze(
            open_split(str(dataset), split),
            output,
            split=split,
            tasks=get_tasks(names),
            protocols=protocols,
            num_candidates=num_candidates,
            repeats=repeats,
            seed=seed,
            left_out=partial(typer.echo, err=True) if "all" in names else None,
        )
    table = Table("task", "protocol", "questions", "books", "fingerprint", title=str(output))
    for each in about["sets"]:
        numbers = (f"{each[name]:,}" for name in ("questions", "books"))
        table.add_row(each["task"], LEAKY.get(each["protocol"], each["protocol"]), *numbers, each["fingerprint"])
    Console().print(table)
    typer.echo(f"fingerprint {about['fingerprint']}")


@app.command("comics-pap")
def comics_pap(
    model: Annotated[
        str,
        typer.Option(
            help="Checkpoint: a folder or a model on the Hub. With --train-split also a model configuration."
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="The data set on the Hub, or a folder or URL of parquet files in its schema, laid out as "
            "`SKILL/SPLIT-*.parquet`, or one such file."
        ),
    ] = "VLR-CVC/ComicsPAP",
    output: Annotated[Path, typer.Option(help="Folder of the report and the predictions.")] = Path(
        "outputs/comics-pap"
    ),
    split: Annotated[str, typer.Option(help="Split to answer: val, or test, whose solutions are hidden.")] = "val",
    skills: Annotated[
        list[str] | None,
        typer.Option(
            help="Skill to ask, once each: sequence_filling, char_coherence, visual_closure, text_closure, "
            "caption_relevance.",
            show_default="all that are there",
        ),
    ] = None,
    image_encoder: Annotated[
        str,
        typer.Option(
            "--image-encoder", "--image_encoder", help="`efficientnet-lite0`, or any vision model of transformers."
        ),
    ] = "efficientnet-lite0",
    text_encoder: Annotated[
        str,
        typer.Option(
            "--text-encoder",
            "--text_encoder",
            help="`all-MiniLM-L6-v2`, any text model of transformers, or `none`: captions and lettering stay unread.",
        ),
    ] = "all-MiniLM-L6-v2",
    train_split: Annotated[
        str | None,
        typer.Option("--train-split", "--train_split", help="Tune the model on this split first, for example train."),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training split.")] = 5,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", "--learning_rate", help="Peak learning rate of the tuning.")
    ] = 3e-4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the tuning.")] = 0,
) -> None:
    """Answer **ComicsPAP** (arXiv:2503.08561): pick the missing panel, in five skills.

    Pictures, captions and lettering are embedded by frozen encoders and brought to the model's width by a fixed
    projection. Prints accuracy by skill and the benchmark's sample-weighted total beside the random baseline and cosine,
    and writes `report.md`, `results.json`, `results_SKILL.json` in the form of the benchmark's evaluation and
    `predictions.csv`. A checkpoint knows the vectors it was trained on: others mean nothing to it, unless --train-split
    tunes it on them.

    Example: `comicseq comics-pap --model outputs/model --train-split train --output outputs/comics-pap`
    """
    with one_line_errors():
        from modeling_comicseq.comics_pap.run import run_comics_pap

        run_comics_pap(
            model,
            data,
            output,
            image_encoder=image_encoder,
            text_encoder=None if text_encoder == "none" else text_encoder,
            split=split,
            skills=skills,
            train_split=train_split,
            epochs=epochs,
            learning_rate=learning_rate,
            seed=seed,
        )


if __name__ == "__main__":
    app()
