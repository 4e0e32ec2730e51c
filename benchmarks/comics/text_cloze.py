"""COMICS text-cloze and character coherence by text alone: five folds by book, every row with its interval.

python -m benchmarks.comics.text_cloze --questions DIR --metadata stage3_metadata.json --output DIR
python -m benchmarks.comics.text_cloze … --fold 0      # one fold, as many side by side as there are cores
python -m benchmarks.comics.text_cloze … --held-out    # once, at the end: the books that no choice was made on
python -m benchmarks.comics.text_cloze … --reading-layers 2 --tasks text_cloze

DIR holds text_cloze_easy.csv, text_cloze_hard.csv and char_coherence.csv; the metadata is that of a Stage 3 store of the
same books, with `texts`. `--reading-layers` adds rows of a reader whose candidates read the context's words. Finished rows are kept in the output folder: after an interrupt, the same command goes on.
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
from .reading import ReadingTraining
from .run import COHERENCE, ComicsData, Reading, results_table, run_table
from .texts import TextBank, cloze_choices

TASKS = CLOZE_TASK, COHERENCE_TASK = "text_cloze", "character_coherence"


def read(arguments: argparse.Namespace, console: Console) -> tuple[ComicsData, Reading | None]:
    """All questions, pages and text vectors; and what reads words, where that is asked for."""
    folder = Path(arguments.questions)
    cloze = [read_text_cloze(folder / f"text_cloze_{kind}.csv") for kind in ("easy", "hard")]
    coherence = read_character_coherence(folder / "char_coherence.csv")
    pages = read_text_pages(arguments.metadata)
    encoder = load_panel_encoder(f"+{arguments.encoder}", text_layers=read_layers(arguments.layers))
    asked = [*cloze, coherence] if COHERENCE_TASK in arguments.tasks else cloze
    bank = TextBank(asked, pages, encoder, cache=Path(arguments.output) / "texts", progress=True)
    console.print(f"{len(bank.texts):,} texts by {arguments.encoder}, layers {arguments.layers}", style="dim")
    data = ComicsData(["easy", "hard"], [cloze_choices(each, bank) for each in cloze], cloze, coherence, pages, bank)
    if not arguments.reading_layers:
        return data, None
    settings = ReadingTraining(num_layers=arguments.reading_layers)
    encoder.model.text_model.set_attn_implementation(
        "eager"
    )  # on a CPU, half of a step is the gradient of the others'
    return data, Reading(settings, encoder, Path(arguments.output))


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
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="what to ask; by default both")
    parser.add_argument(
        "--reading-layers",
        type=int,
        default=0,
        help="last layers of the encoder that read words; by default no row does",
    )
    parser.add_argument("--fold", type=int, choices=range(NUM_FOLDS), help="make the rows of this fold alone")
    parser.add_argument(
        "--held-out", "--put-away", action="store_true", help="ask the held-out books, not the five folds"
    )
    arguments = parser.parse_args()
    check_at_least("--models", arguments.models, 1)
    console, output = Console(width=150), Path(arguments.output)
    data, reading = read(arguments, console)
    cache, one = output / "rows", arguments.fold
    if one is not None and arguments.held_out:
        raise ComicSeqArgumentError("--fold and --held-out are both given: leave one of them out.")
    coherence = CoherenceTraining() if COHERENCE_TASK in arguments.tasks else None
    results = run_table(
        data, ClozeTraining(), coherence, arguments.models, cache, arguments.held_out, reading=reading, only=one
    )
    which = "held-out books" if arguments.held_out else "development books, five folds by book"
    if one is not None:
        which = f"fold {one} of the development books (without --fold, the same command makes the table of all)"
    for task, names in ((CLOZE_TASK, data.names), (COHERENCE_TASK, [COHERENCE])):
        for name in names if task in results else []:
            title = f"COMICS {task.replace('_', ' ')}, text only: {which}"
            console.print(results_table(results[task], name, title))
    ending = "_held_out" if arguments.held_out else "" if one is None else f"_{one}"
    write_json(output / f"results{ending}.json", results)


if __name__ == "__main__":
    try:
        main()
    except ComicSeqError as error:
        sys.exit(f"Error: {error}")
