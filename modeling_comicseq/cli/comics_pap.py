"""`comicseq comics-pap`."""

from pathlib import Path
from typing import Annotated

from typer import Option

from .options import OtherOrigin, Seed


def comics_pap(
    model: Annotated[
        str, Option(help="Checkpoint: a folder or a model on the Hub. With --train-split also a model configuration.")
    ],
    data: Annotated[str, Option(help="The data set on the Hub, or parquet files; see above.")] = "VLR-CVC/ComicsPAP",
    output: Annotated[Path, Option(help="Folder of the report and the predictions.")] = Path("outputs/comics-pap"),
    split: Annotated[str, Option(help="Split to answer: val, or test, whose solutions are hidden.")] = "val",
    skills: Annotated[
        list[str] | None, Option(help="Skill to ask, once each; see above.", show_default="all that are there")
    ] = None,
    encoder: Annotated[
        str, Option(help="Panel encoder: a checkpoint, or VISION+TEXT, two models of transformers; see above.")
    ] = "efficientnet-lite0+all-MiniLM-L6-v2",
    train_split: Annotated[str | None, Option(help="Tune the model on this split first, for example train.")] = None,
    epochs: Annotated[int, Option(min=1, help="Passes over the training split.")] = 5,
    learning_rate: Annotated[float, Option(help="Peak learning rate of the tuning.")] = 3e-4,
    seed: Seed = 0,
    other_origin: OtherOrigin = False,
) -> None:
    """Answer **ComicsPAP** (arXiv:2503.08561): pick the missing panel, in five skills.

    Pictures, captions and lettering are embedded by a frozen panel encoder at the model's width. Prints accuracy by skill and the benchmark's sample-weighted total beside the random baseline and cosine,
    and writes `report.md`, `results.json`, `results_SKILL.json` in the form of the benchmark's evaluation and
    `predictions.csv`. A checkpoint knows the vectors it was trained on: others mean nothing to it, unless --train-split
    tunes it on them.

    `--data` names a folder or URL of parquet files in the data set's schema, laid out as `SKILL/SPLIT-*.parquet`, or one
    such file. Skills are sequence_filling, char_coherence, visual_closure, text_closure and caption_relevance. With an
    encoder of pictures alone, such as `--encoder efficientnet-lite0+`, captions and lettering stay unread.

    Example: `comicseq comics-pap --model outputs/model --train-split train --output outputs/comics-pap`
    """
    from ..comics_pap.run import run_comics_pap

    run_comics_pap(
        model,
        data,
        output,
        encoder=encoder,
        split=split,
        skills=skills,
        train_split=train_split,
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        other_origin=other_origin,
    )
