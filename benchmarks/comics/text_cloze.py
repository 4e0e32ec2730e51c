"""COMICS text-cloze and character coherence by text alone: five folds by book, every row with its interval.

python -m benchmarks.comics.text_cloze --questions DIR --metadata stage3_metadata.json --output DIR
python -m benchmarks.comics.text_cloze … --fold 0      # one fold, as many side by side as there are cores
python -m benchmarks.comics.text_cloze … --held-out    # once, at the end: the books that no choice was made on

DIR holds text_cloze_easy.csv, text_cloze_hard.csv and char_coherence.csv; the metadata is that of a Stage 3 store of the
same books, with `texts`. Finished rows are kept in the output folder: after an interrupt, the same command goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from modeling_comicseq.encoders.loading import OFFLINE_TEXT_ENCODER
from modeling_comicseq.encoders.panel_encoder import load_panel_encoder
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqError, check_at_least
from modeling_comicseq.files import write_json

from .cloze import ClozeTraining
from .coherence import CoherenceTraining
from .questions import NUM_FOLDS, read_character_coherence, read_text_cloze, read_text_pages
from .run import ComicsData, make_folds, results_table, run_cloze_fold, run_coherence_fold, run_table
from .texts import TextBank, cloze_choices


def read(arguments: argparse.Namespace, console: Console) -> ComicsData:
    """All questions, pages and text vectors."""
    folder = Path(arguments.questions)
    cloze = [read_text_cloze(folder / f"text_cloze_{kind}.csv") for kind in ("easy", "hard")]
    coherence = read_character_coherence(folder / "char_coherence.csv")
    pages = read_text_pages(arguments.metadata)
    encoder = load_panel_encoder(f"+{arguments.encoder}", text_layers=read_layers(arguments.layers))
    bank = TextBank([*cloze, coherence], pages, encoder, cache=Path(arguments.output) / "texts", progress=True)
    console.print(f"{len(bank.texts):,} texts by {arguments.encoder}, layers {arguments.layers}", style="dim")
    return ComicsData(["easy", "hard"], [cloze_choices(each, bank) for each in cloze], cloze, coherence, pages, bank)


def read_layers(text: str) -> list[int]:
    """`3,-1` as numbers."""
    try:
        return [int(layer) for layer in text.split(",")]
    except ValueError:
        raise ComicSeqArgumentError(
            f"--layers is {text!r} but must be numbers with commas between, as in 3,-1."
        ) from None


def main() -> None:
    """Reads, trains, asks, prints both tables and writes them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", required=True, help="folder of the question files (miyyer/comics, folds)")
    parser.add_argument("--metadata", required=True, help="metadata JSON of a Stage 3 store of the same books")
    parser.add_argument("--output", required=True, help="folder for text vectors, finished rows and results.json")
    parser.add_argument("--encoder", default=OFFLINE_TEXT_ENCODER, help="text encoder: a folder or a name")
    parser.add_argument(
        "--layers", default="3,-1", help="its hidden states to pool; the last one named is the baseline"
    )
    parser.add_argument("--models", type=int, default=2, help="models whose answers are averaged in the best row")
    parser.add_argument("--fold", type=int, choices=range(NUM_FOLDS), help="make the rows of this fold and stop")
    parser.add_argument(
        "--held-out", "--put-away", action="store_true", help="ask the held-out books, not the five folds"
    )
    arguments = parser.parse_args()
    check_at_least("--models", arguments.models, 1)
    console, output = Console(width=150), Path(arguments.output)
    data = read(arguments, console)
    cache = output / "rows"
    cloze, coherence = ClozeTraining(), CoherenceTraining()
    if arguments.fold is not None:
        fold = make_folds(data, held_out=False)[arguments.fold]
        run_cloze_fold(data, fold, cloze, arguments.models, cache)
        run_coherence_fold(data, fold, coherence, cache)
        console.print(f"Fold {arguments.fold} is done: without --fold, the same command makes the table of all.")
        return
    results = run_table(data, cloze, coherence, arguments.models, cache, held_out=arguments.held_out)
    which = "held-out books" if arguments.held_out else "development books, five folds by book"
    for task, names in (("text_cloze", data.names), ("character_coherence", ["coherence"])):
        for name in names:
            title = f"COMICS {task.replace('_', ' ')}, text only: {which}"
            console.print(results_table(results[task], name, title))
    write_json(output / ("results_held_out.json" if arguments.held_out else "results.json"), results)


if __name__ == "__main__":
    try:
        main()
    except ComicSeqError as error:
        sys.exit(f"Error: {error}")
