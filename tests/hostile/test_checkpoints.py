"""Checkpoints that are none, are damaged, do not fit, or whose weights are no numbers."""

from __future__ import annotations

import numpy as np
import pytest

from .commands import (
    COMICS_PAP,
    ENCODE,
    EVALUATE,
    IMPORT,
    OF_A_CHECKPOINT,
    ORDER,
    ORDER_PAGES,
    PRETRAIN,
    RUN_EVAL,
)
from .table import (
    array,
    change,
    check_refused,
    cut,
    each,
    folder,
    garbage,
    link,
    remove,
    row,
    rows_of,
    weights,
    write,
)

WEIGHTS, CONFIG = "model/model.safetensors", "model/config.json"
SOME = {name: OF_A_CHECKPOINT[name] for name in ("encode", "order pages", "export", "run_eval.py")}


def of(model: str, command: str) -> str:
    return command.replace("--model model", f"--model {model}")


def renamed(path: str, other: str):
    return lambda place: (place / path).rename(place / other)


def pickled(place) -> None:
    import torch

    torch.save({"weight": torch.ones(1)}, place / "model" / "pytorch_model.bin")
    (place / WEIGHTS).unlink()


def panels(place) -> None:
    """A panel encoder of another width than `model` reads."""
    from ..page_inputs import panel_model, panel_processor

    panel_model().save_pretrained(place / "panels")
    panel_processor(place / "panels").save_pretrained(place / "panels")


TABLE = {
    # Places
    **each(OF_A_CHECKPOINT, "nothing there", "model", "name", breaks=remove("model")),
    **each(OF_A_CHECKPOINT, "a file", "model", breaks=write("model", "hello")),
    **each(OF_A_CHECKPOINT, "an empty folder", "model", "no ComicSeq checkpoint", breaks=folder("model")),
    **each(SOME, "a link to itself", "model", breaks=link("model", "model")),
    **each(
        SOME, "another library's model", "'bert'", "'comicseq'", breaks=(remove("model"), renamed("bert", "model"))
    ),
    "export: a data set": row("export data out", "data", "no ComicSeq checkpoint"),
    "export: a store": row("export store.zarr out", "store.zarr", "no ComicSeq checkpoint"),
    "order pages: a question set": row(of("questions", ORDER_PAGES), "questions", "no ComicSeq checkpoint"),
    "export: no name": row("export '' out", "name"),
    "export: a blank": row("export ' ' out", "name"),
    "export: the weights' file": row(f"export {WEIGHTS} out", WEIGHTS, "checkpoint"),
    "export: the configuration's file": row(f"export {CONFIG} out", CONFIG, "name a checkpoint folder"),
    "export: a name of the Hub that nobody has": row("export nobody/nothing out", "nobody/nothing"),
    "export: a mistyped path": row("export outputs/modle out", "outputs/modle", breaks=folder("outputs")),
    "export: a path upwards": row("export ../../nowhere out", "../../nowhere"),
    "export: a URL": row("export https://huggingface.co/org/model out", "https://huggingface.co/org/model"),
    "export: a name of 300 letters": row(f"export {'x' * 300} out", "xxxx"),
    "export: a name in Unicode": row("export 'モデル 😀' out", "モデル 😀"),
    "export: a name with a line break": row("export 'a\nb' out", "name"),
    "encode: a configuration alone": row(of("model.json", ENCODE), "model.json"),
    # Weights
    **each(OF_A_CHECKPOINT, "no weights", "model", breaks=remove(WEIGHTS)),
    **each(OF_A_CHECKPOINT, "weights of binary garbage", "model", breaks=garbage(WEIGHTS)),
    **each(SOME, "weights that are cut", "model", breaks=cut(WEIGHTS)),
    **each(SOME, "empty weights", "model", breaks=write(WEIGHTS, "")),
    **each(SOME, "weights that are a folder", "model", breaks=folder(WEIGHTS)),
    **each(SOME, "a pickle", "model", "safetensors", breaks=pickled),
    **each(SOME, "a header beyond the file", "model", breaks=write(WEIGHTS, b"\xff" * 8 + b"{}")),
    **each(OF_A_CHECKPOINT, "NaN", "model", "NaN or infinity", breaks=weights("model", **{"layers.0": np.nan})),
    **each(SOME, "infinity", "model", "NaN or infinity", breaks=weights("model", **{"strip_query": np.inf})),
    **each(SOME, "no layer", "model", "missing", breaks=weights("model", **{"layers.0": None})),
    **each(
        SOME, "other sizes", "model", breaks=weights("model", **{"strip_query": lambda each: each[..., :3].copy()})
    ),
    # Configurations
    **each(SOME, "no configuration", "model", "config.json", breaks=remove(CONFIG)),
    **each(SOME, "a configuration that is cut", "model", breaks=cut(CONFIG)),
    **each(SOME, "a configuration of binary garbage", "model", breaks=garbage(CONFIG)),
    **each(SOME, "a list as configuration", "model", breaks=write(CONFIG, "[]")),
    **each(SOME, "other layers", "model", "does not hold", breaks=change(CONFIG, num_hidden_layers=2)),
    **each(SOME, "another width", "model", "(30, 30)", breaks=change(CONFIG, hidden_size=30)),
    # What it cannot do
    "order: a checkpoint without the head": row(
        ORDER.replace("--model model", "--model picking"), "picking", "no head for reading order"
    ),
    "order pages: an encoder": row(
        ORDER_PAGES.replace("--model model", "--model encoder"), "encoder", "no head for reading order"
    ),
    "export: a head that is not there": row("export picking out --task text_cloze", "picking", "text_cloze", "--task"),
    "export: all heads of an encoder": row("export encoder out --task all", "encoder", "--task"),
    # A page model
    "export: an encoder that is none": row("export model out --encoder bert", "bert", "panel encoder"),
    "export: a sequence model as the encoder": row("export model out --encoder model", "model", "no panel encoder"),
    "export: an encoder that is not there": row(
        "export model out --encoder outputs/nothing", "outputs/nothing", "name"
    ),
    "export: an encoder without a name": row("export model out --encoder ''", "panel encoder", "name"),
    "export: an encoder of two pluses": row("export model out --encoder a+b+c", "a+b+c", "VISION+TEXT"),
    "export: an encoder of another width": row(
        "export model out --encoder panels", "panels", "24", "projection_dim", "together", breaks=panels
    ),
    "export: an encoder that is cut off": row(
        "export model out --encoder panels",
        "panels",
        "panel encoder",
        breaks=(panels, cut("panels/model.safetensors")),
    ),
    "export: the encoder as the output": row(
        "export model panels --overwrite --encoder panels", "panels", "input", breaks=panels
    ),
    "export: an encoder for ONNX": row("export model out --encoder bert --format onnx", "--encoder", "onnx"),
    "export: another origin of no encoder": row("export model out --other-origin", "--other-origin", code=2),
    "export: two checkpoints": row("export model out --model picking", "--model", "once", code=2),
    "export: no output": row("export --model model", "--output", "missing", code=2),
    "export: no such task": row("export model out --task picking", "'picking'", "panel_picking"),
    "evaluate: an encoder": row(EVALUATE.replace("--model model", "--model encoder"), "encoder"),
    "evaluate: a head that is not there": row(
        EVALUATE.replace("--model model", "--model picking") + " --tasks text_cloze", "picking", "text_cloze"
    ),
    "encode: a store of another width": row(
        ENCODE, "panel_embeddings", "store.zarr", "9", "8", breaks=array("panel_embeddings", (24, 6, 9))
    ),
    "order: a store of another width": row(
        ORDER, "panel_embeddings", "store.zarr", "9", "8", breaks=array("panel_embeddings", (24, 6, 9))
    ),
    "order pages: pages of another width": row(
        ORDER_PAGES, "pages.json", "entry 0", breaks=write("pages.json", '[{"panel_embeddings": [[1, 2, 3]]}]')
    ),
    "run_eval.py: two models, one of them none": row(
        RUN_EVAL.replace("--model model", "--model model nowhere"), "nowhere"
    ),
    "comics-pap: a configuration without training": row(
        COMICS_PAP.replace("--model model", "--model model.json"), "model.json", "without weights"
    ),
    "pretrain: a checkpoint of another width": row(
        PRETRAIN + " --model model --config_overrides '{hidden_size: 32}'", "cannot be overridden"
    ),
    # Original checkpoints
    "import: nothing there": row(IMPORT, "original.pt", "best_model.pt", breaks=remove("original.pt")),
    "import: a folder": row(IMPORT, "original.pt", "best_model.pt", breaks=folder("original.pt")),
    "import: binary garbage": row(IMPORT, "original.pt", breaks=garbage("original.pt")),
    "import: empty": row(IMPORT, "original.pt", breaks=write("original.pt", "")),
    "import: cut": row(IMPORT, "original.pt", "copy it again", breaks=cut("original.pt")),
    "import: a text": row("import-checkpoint notes.txt out", "notes.txt"),
    "import: weights in safetensors": row(f"import-checkpoint {WEIGHTS} out", WEIGHTS),
    "import: a picture of numbers": row("import-checkpoint vector.npy out", "vector.npy"),
    "import: a checkpoint's folder": row("import-checkpoint model out", "model", "best_model.pt"),
    "import: a link to itself": row(IMPORT, "original.pt", breaks=link("original.pt", "original.pt")),
    "import: heads that do not divide": row(IMPORT + " --heads 7", "7", "24"),
}

OPEN: dict[str, str] = {}


@pytest.mark.parametrize("row", rows_of(TABLE, OPEN))
def test_refused(row, place):
    check_refused(row, place)
