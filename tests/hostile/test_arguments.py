"""Options, run files, data sets and outputs that are not possible."""

from __future__ import annotations

import pytest

from .commands import (
    APP,
    COMICS_PAP,
    CONVERT,
    DRAW,
    ENCODE,
    EVALUATE,
    EXPORT,
    IMPORT,
    INDEX,
    INSPECT_5,
    LAYOUTS,
    OF_A_DATASET,
    ORDER,
    ORDER_BOXES,
    ORDER_PAGES,
    PRETRAIN,
    QUESTIONS,
    RUN_EVAL,
    RUN_PRETRAINING,
    SEARCH,
    SYNTHESIZE,
    TYPER,
)
from .table import check_refused, each, folder, garbage, link, remove, row, rows_of, write

RUNS = {
    "pretrain": PRETRAIN,
    "run_pretraining.py": RUN_PRETRAINING,
    "evaluate": EVALUATE,
    "run_eval.py": RUN_EVAL,
}
OF_A_FOLDER = {"convert": CONVERT, "questions": QUESTIONS, "export": EXPORT, "import-checkpoint": IMPORT}


def option(line: str, *says: str, code: int = 2):
    return row(line, *says, code=code)


def run_file(text: str | bytes, *says: str):
    return row("pretrain bad.yaml", *says, breaks=write("bad.yaml", text))


TABLE = {
    # Options
    **{f"{name}: no such option": option(f"{line} --nonsense 1", "--nonsense") for name, line in TYPER.items()},
    **{f"{name}: no such option": option(f"{line} --nonsense 1", "--nonsense", code=1) for name, line in RUNS.items()},
    "no such command": option("covnert --output out", "covnert"),
    "synthesize: no books": option(
        SYNTHESIZE.replace("--books 1", "--books 0"), "--books", "greater than or equal to 1"
    ),
    "synthesize: books as a word": option(SYNTHESIZE.replace("--books 1", "--books many"), "--books", "valid integer"),
    "synthesize: a seed below 0": option(SYNTHESIZE + " --seed -1", "--seed", "greater than or equal to 0"),
    "synthesize: no width": option(SYNTHESIZE + " --width 0", "0", code=1),
    "synthesize: no slots": option(SYNTHESIZE + " --slots 0", "slots", code=1),
    "synthesize: no such precision": option(SYNTHESIZE + " --dtype float64", "--dtype", "float64"),
    "draw: no books": option(DRAW.replace("--books 1", "--books 0"), "--books", "greater than or equal to 1"),
    "draw: no pages": option(DRAW.replace("--pages 1", "--pages 0"), "--pages", "greater than or equal to 1"),
    "draw: no process": option(DRAW + " --num-proc 0", "--num-proc", "greater than or equal to 1"),
    "draw: too small": option(DRAW.replace("64", "63"), "`width` is 63", "64", code=1),
    "draw: too large": option(DRAW.replace("64", "4001"), "`width` is 4001", "4000", code=1),
    "draw: something stands there": row(DRAW, "out", "--overwrite", breaks=write("out/thesis.txt", "a chapter")),
    "draw: a file stands there": row(DRAW, "out is a file", breaks=write("out", "a chapter")),
    "draw: a URL": option(DRAW.replace(" out", " s3://bucket/out"), "s3:/bucket/out", "local", code=1),
    "convert: no window": option(CONVERT + " --window 0", "--window", "greater than or equal to 1"),
    "convert: a stride beyond the window": option(CONVERT + " --window 4 --stride 5", "stride", "5", code=1),
    "convert: no process": option(CONVERT + " --num-proc 0", "--num-proc", "greater than or equal to 1"),
    "convert: no such way": option(CONVERT + " --on-error ignore", "--on-error", "ignore"),
    "convert: two shares": option(CONVERT + " --fractions 0.5 0.5", "--fractions"),
    "convert: shares that are words": option(CONVERT + " --fractions a b c", "--fractions", "valid number"),
    "questions: one candidate": option(
        QUESTIONS + " --num-candidates 1", "--num-candidates", "greater than or equal to 2"
    ),
    "questions: no such split": option(QUESTIONS + " --split tests", "--split", "tests"),
    "questions: no such task": option(QUESTIONS + " --tasks picking", "'picking'", code=1),
    "questions: no such protocol": option(QUESTIONS + " --protocol samebook", "'samebook'", code=1),
    "encode: no batch": option(ENCODE + " --batch-size 0", "--batch-size", "greater than or equal to 1"),
    "encode: Zarr 4": option(ENCODE + " --zarr-format 4", "--zarr-format", "4"),
    "index: up to date and anew": option(INDEX + " --update --overwrite", "update or overwrite", code=1),
    "index: nothing to bring up to date": option(INDEX + " --update", "out is no complete index", code=1),
    "index: pictures below 0": option(INDEX + " --picture-size -1", "--picture-size", "greater than or equal to 0"),
    "index: pages that are none": option(INDEX + " --pages comics", "comics", "comicseq ingest", code=1),
    "index: a Stage 3 store of other pages": option(INDEX + " --embeddings store.zarr --pages data", "data", code=1),
    "index: no engine for such a URL": option("index --store stage5.zarr --output foo://bucket/x", "foo", code=1),
    "app: no index": option("app --index nowhere", "nowhere is no index", code=1),
    "app: a store as index": option("app --index stage5.zarr", "stage5.zarr is no complete index", code=1),
    "app: no such model": option(APP + " --model nowhere", "There is no model nowhere", code=1),
    "app: a sequence model, but no panel vectors": option(APP + " --model model", "comicseq export", code=1),
    "app: pages that are none": option(APP + " --pages comics", "comics", "comicseq ingest", code=1),
    "app: a host that is another machine's": option(APP + " --host 192.0.2.1", "192.0.2.1", "--host", code=1),
    "app: a host that is no name": option(APP + " --host 'a b'", "a b", "--host", code=1),
    "app: no port": option(APP + " --port 0", "--port", "greater than or equal to 1"),
    "search: nothing asked": option(
        "search --index index", "a text, an image, a page, a panel, a vector or words", code=1
    ),
    "search: no index": option("search --page 3", "comicseq index --store", code=1),
    "search: a store": option("search --store stage5.zarr --page 3", "comicseq index --store stage5.zarr", code=1),
    "search: an index that is not there": option("search --index nowhere --page 3", "nowhere is no index", code=1),
    "search: a folder that is no index": option("search --index model --page 3", "model is no complete index", code=1),
    "search: a store as index": option(
        "search --index stage5.zarr --page 3", "stage5.zarr is no complete index", code=1
    ),
    "search: none wanted": option(SEARCH + " -k 0", "--k", "greater than or equal to 1"),
    "search: too many wanted": option(SEARCH + " -k 10001", "--k", "10000"),
    "search: no such level": option(SEARCH + " --level pages", "--level", "pages"),
    "search: no such space": option(SEARCH + " --space words", "--space", "words"),
    "search: a panel without a slot": option("search --index index --panel 3", "'3'", "ROW:SLOT", code=1),
    "search: a panel below 0": option("search --index index --panel=-1:0", "'-1:0'", "ROW:SLOT", code=1),
    "search: a slot that is empty": option("search --index index --panel 3:999", "999", code=1),
    "search: a vector that is none": option(
        "search --index index --vector notes.txt", "notes.txt", "numpy.save", code=1
    ),
    "search: a vector that is not there": option("search --index index --vector no.npy", "no.npy", code=1),
    "search: a picture that is none": option(
        "search --index index --image notes.txt --encoder efficientnet-lite0+", "notes.txt", code=1
    ),
    "search: a picture that is not there": option(
        "search --index index --image no.png --encoder efficientnet-lite0+", "no.png", code=1
    ),
    "search: no such encoder": option("search --index index --text cat --encoder nobody+nothing", "nothing", code=1),
    "search: another encoder": option(
        "search --index index --text cat --encoder efficientnet-lite0+", "was made with", "some-encoder", code=1
    ),
    "search: a model that is none": option(
        "search --index index --text cat --encoder +all-MiniLM-L6-v2 --model notes.txt", "notes.txt", code=1
    ),
    "search: another model": option(
        "search --index index --text cat --encoder +all-MiniLM-L6-v2 --model order", "another model", code=1
    ),
    "search: no words": option("search --index index --words ' '", "empty", code=1),
    "search: SQL that is more than a filter": option(SEARCH + ' --where "1=1; drop table x"', "';'", code=1),
    "search: SQL that reads a file": option(
        SEARCH + " --where \"read_csv('/etc/passwd') = 'x'\"", "'read_csv', which is no column", code=1
    ),
    "search: SQL that ends early": option(SEARCH + ' --where "book_id = \'a"', "does not end", code=1),
    "search: no such column": option(SEARCH + " --where \"bookid = 'a'\"", "did you mean `book_id`", code=1),
    "search: another type": option(SEARCH + " --where 'book_id = 3'", "is refused", code=1),
    "search: a sheet without pictures": option(SEARCH + " --contact-sheet out.png", "no pictures", "--pages", code=1),
    "inspect: nine pages": option(INSPECT_5 + " --pages 9", "--pages", "greater than or equal to 10"),
    "inspect: metadata of another number": option(INSPECT_5 + " --metadata a --metadata b", "2", "1", code=1),
    "order: neither store nor pages": option("order --model order --output out.json", "--pages", code=1),
    "order: store and pages": option(ORDER + " --pages pages.json", "--pages", code=1),
    "order boxes: no model for a store": option(ORDER.replace("--model model ", ""), "--model", code=1),
    "order boxes: a direction of its own": option(ORDER_BOXES + " --reading-direction up", "'up'", "'ltr', 'rtl'"),
    "order boxes: nothing there": row(ORDER_BOXES, "boxes.json", breaks=remove("boxes.json")),
    "order boxes: binary garbage": row(ORDER_BOXES, "boxes.json", breaks=garbage("boxes.json")),
    "order boxes: beyond the page": row(
        ORDER_BOXES, "'entry 0'", "outside the page", breaks=write("boxes.json", '[{"panel_boxes": [[0, 0, 2, 1]]}]')
    ),
    "order boxes: a model that reads none": row(ORDER_BOXES + " --model order", "order reads no boxes"),
    "order boxes: somebody's file": row(ORDER_BOXES.replace("out.json", "notes.txt"), "notes.txt", "--overwrite"),
    "layouts: no pages": option(LAYOUTS.replace("20", "0"), "--pages", "greater than or equal to 1"),
    "layouts: more than all are missed": option(LAYOUTS + " --missed 2", "--missed", "less than or equal to 1"),
    "layouts: something stands there": row(LAYOUTS, "out", "--overwrite", breaks=write("out/thesis.txt", "a chapter")),
    "layouts: somebody's file": row(LAYOUTS.replace("out ", "metadata.json "), "metadata.json", "--overwrite"),
    "layouts: a URL": option(LAYOUTS.replace(" out", " s3://bucket/out"), "s3:/bucket/out", "local", code=1),
    "order pages: nothing there": row(ORDER_PAGES, "pages.json", breaks=remove("pages.json")),
    "order pages: binary garbage": row(ORDER_PAGES, "pages.json", breaks=garbage("pages.json")),
    "order pages: no vectors": row(
        ORDER_PAGES, "entry 0", "`panel_embeddings` is missing", breaks=write("pages.json", '[{"page_name": "a"}]')
    ),
    "order pages: words": row(
        ORDER_PAGES, "entry 0", "panel_embeddings", breaks=write("pages.json", '[{"panel_embeddings": "a"}]')
    ),
    "comics-pap: no such skill": option(COMICS_PAP + " --skills order", "'order'", code=1),
    "comics-pap: trained and asked": option(COMICS_PAP + " --train-split val", "'val'", code=1),
    "comics-pap: half an encoder": option(
        COMICS_PAP.replace("efficientnet-lite0+", "efficientnet-lite0"), "'efficientnet-lite0'", "VISION+TEXT", code=1
    ),
    "comics-pap: no such encoder": option(
        COMICS_PAP.replace("efficientnet-lite0+", "no/where/encoder+"), "no/where/encoder", code=1
    ),
    "comics-pap: an encoder that is a sequence model": option(
        COMICS_PAP.replace("efficientnet-lite0+", "model"), "model", "no panel encoder", code=1
    ),
    "comics-pap: no data": row(COMICS_PAP, "pap.parquet", breaks=remove("pap.parquet")),
    "comics-pap: binary garbage": row(COMICS_PAP, "pap.parquet", breaks=garbage("pap.parquet")),
    "export: no such precision": option(EXPORT + " --dtype int8", "--dtype", "int8"),
    "import: no heads": option(IMPORT + " --heads 0", "--heads", "greater than or equal to 1"),
    "evaluate: one candidate": option(EVALUATE + " --num_candidates 1", "`num_candidates` is 1", code=1),
    "evaluate: no repeat": option(EVALUATE + " --repeats 0", "`repeats` is 0", code=1),
    "evaluate: no batch": option(EVALUATE + " --batch_size 0", "`batch_size` is 0", code=1),
    "evaluate: a seed below 0": option(EVALUATE + " --seed -1", "`seed` is -1", code=1),
    "evaluate: no such task": option(EVALUATE + " --tasks panelpicking", "'panelpicking'", code=1),
    "evaluate: frozen questions and a seed": option(
        EVALUATE + " --questions questions --seed 1", "`seed`", "questions", code=1
    ),
    "evaluate: questions that are none": option(EVALUATE + " --questions model", "model", "no question set", code=1),
    "pretrain: no batch": option(PRETRAIN + " --per_device_train_batch_size 0", "is 0", code=1),
    "pretrain: one candidate": option(PRETRAIN + " --num_candidates 1", "`num_candidates` is 1", code=1),
    "pretrain: a rate below 0": option(PRETRAIN + " --learning_rate -1", "learning_rate", "-1", code=1),
    "pretrain: a rate of NaN": option(PRETRAIN + " --learning_rate nan", "learning_rate", "nan", code=1),
    "pretrain: an endless rate": option(PRETRAIN + " --learning_rate inf", "learning_rate", "inf", code=1),
    "pretrain: a seed below 0": option(PRETRAIN + " --seed -1", "seed", "-1", code=1),
    "pretrain: workers below 0": option(PRETRAIN + " --dataloader_num_workers -1", "dataloader_num_workers", code=1),
    "pretrain: a rate as a word": option(PRETRAIN + " --learning_rate fast", "learning-rate", "'fast'"),
    "pretrain: no such protocol": option(PRETRAIN + " --protocol samebook", "'samebook'", code=1),
    "pretrain: no such optimiser": option(PRETRAIN + " --optim adamx", "adamx"),
    "pretrain: a data set and a store": option(PRETRAIN + " --train_embeddings a", "`dataset`", code=1),
    # Run files
    "a field that does not exist": run_file("learning_rat: 1\n", "bad.yaml", "learning_rat", "learning_rate"),
    "YAML that is cut": run_file("a: [1\n", "bad.yaml", "not valid YAML"),
    "an empty run file": run_file("", "bad.yaml", "field: value"),
    "a list": run_file("- a\n", "bad.yaml", "field: value"),
    "a word": run_file("hello", "bad.yaml", "field: value"),
    "a run file of binary garbage": run_file(b"\x82\xff\x00", "bad.yaml", "YAML"),
    "a list where a number belongs": run_file("learning_rate: [1, 2]\n", "learning_rate"),
    "no candidates": run_file("num_candidates: 0\n", "`num_candidates` is 0"),
    "no such run file": row("pretrain nowhere.yaml", "nowhere.yaml"),
    "no such shipped run": row("pretrain dmeo", "dmeo", "demo"),
    # Data sets
    **each(OF_A_DATASET, "no data set", "data", "comicseq convert", breaks=remove("data")),
    **{
        f"{name}: the folder above the data set": row(f"{line} --dataset .", "no data set", "did you mean data")
        for name, line in OF_A_DATASET.items()
    },
    **each(OF_A_DATASET, "a file for a data set", "data", "comicseq convert", breaks=write("data", "hello")),
    **each(OF_A_DATASET, "an empty data set", "data", "comicseq convert", breaks=folder("data")),
    **each(OF_A_DATASET, "a list of splits that is garbage", "data", breaks=garbage("data/dataset_dict.json")),
    **each(OF_A_DATASET, "splits that are gone", "data", breaks=(remove("data/test"), remove("data/train"))),
    # Outputs
    **each(OF_A_FOLDER, "a file for the output", "out", "is a file", breaks=write("out", "hello")),
    **each(OF_A_FOLDER, "an output with something in it", "out", breaks=write("out/mine.txt", "hello")),
    **each(OF_A_FOLDER, "an output that links to itself", "out", breaks=link("out", "out")),
    "order: the metadata": row(ORDER.replace("out.json", "metadata.json"), "metadata.json", "input"),
    "order: a folder": row(ORDER, "out.json", "is a folder", breaks=folder("out.json")),
    "order: somebody's file": row(ORDER.replace("out.json", "notes.txt"), "notes.txt", "--overwrite"),
    "convert: the store": row(CONVERT.replace("--output out", "--output store.zarr"), "store.zarr", "input"),
    "export: the checkpoint": row("export model model", "model", "input"),
    "export: within the checkpoint": row("export model model/out", "model", "input"),
    "encode: the store": row(ENCODE.replace("out.zarr", "store.zarr"), "store.zarr"),
    "index: the store": row(INDEX.replace("--output out", "--output stage5.zarr"), "stage5.zarr", "input"),
    "index: somebody's folder": row(INDEX.replace("--output out", "--output model"), "model exists and is no index"),
    "search: the metadata": row(
        SEARCH.replace("out.json", "stage5_metadata.json"), "stage5_metadata.json", "--overwrite"
    ),
    "search: within the index": row(SEARCH.replace("out.json", "index/out.json"), "index", "input"),
    "convert: below a file": row(CONVERT.replace("--output out", "--output notes.txt/out"), "notes.txt"),
}

OPEN: dict[str, str] = {}


@pytest.mark.parametrize("row", rows_of(TABLE, OPEN))
def test_refused(row, place):
    check_refused(row, place)
