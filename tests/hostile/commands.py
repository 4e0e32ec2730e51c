"""One good command line of each kind, which the rows break."""

CONVERT = "convert --embeddings store.zarr --metadata metadata.json --output out --split-books split.json"
ENCODE = "encode --model model --embeddings store.zarr --metadata metadata.json --output out.zarr"
ORDER = "order --model model --embeddings store.zarr --metadata metadata.json --output out.json"
ORDER_PAGES = "order --model model --pages pages.json --output out.json"
ORDER_BOXES = "order --boxes boxes.json --output out.json"
LAYOUTS = "layouts --output out --pages 20"
INSPECT = "inspect store.zarr --metadata metadata.json --output out"
INSPECT_5 = "inspect stage5.zarr --output out"
INDEX = "index --store stage5.zarr --output out"
EXPORT_TABLE = "export-table --store stage5.zarr --output out"
SEARCH = "search --index index --page 3 --output out.json"
APP = "app --index index"
SYNTHESIZE = "synthesize --output out --books 1 --no-progress"
READ = "read comics/two/2.png --model model --output out.png"
INGEST = "ingest comics --annotations comics.json --output out"
DRAW = "draw --output out --books 1 --pages 1 --width 64"
EMBED = "embed comic_pages --encoder panel --output out.zarr"
EMBED_INTO = "embed --into bare/stage3_embeddings.zarr --encoder panel"
QUESTIONS = "questions --dataset data --output out"
EVALUATE = "evaluate --model model --dataset data --output_dir out"
RUN_EVAL = "run_eval.py --model model --dataset data --output_dir out"
PRETRAIN = "pretrain run.yaml"
RUN_PRETRAINING = "run_pretraining.py run.yaml"
PRETRAIN_STORE = (
    "pretrain --model model.json --train_embeddings store.zarr --train_metadata metadata.json"
    " --output_dir out --use_cpu true"
)
EXPORT = "export model out"
IMPORT = "import-checkpoint original.pt out"
COMICS_PAP = "comics-pap --model model --data pap.parquet --output out --encoder efficientnet-lite0+"

# By what they read.
OF_A_STORE = {
    "convert": CONVERT, "encode": ENCODE, "order": ORDER, "inspect": INSPECT, "pretrain": PRETRAIN_STORE
}  # fmt: skip
OF_A_DATASET = {
    "questions": QUESTIONS, "evaluate": EVALUATE, "run_eval.py": RUN_EVAL, "pretrain": PRETRAIN,
    "run_pretraining.py": RUN_PRETRAINING,
}  # fmt: skip
OF_A_CHECKPOINT = {
    "encode": ENCODE, "order": ORDER, "order pages": ORDER_PAGES, "evaluate": EVALUATE, "run_eval.py": RUN_EVAL,
    "export": EXPORT, "pretrain": PRETRAIN + " --model model", "comics-pap": COMICS_PAP,
}  # fmt: skip

# All whose options typer reads, by name.
TYPER = {
    "synthesize": SYNTHESIZE,
    "draw": DRAW,
    "layouts": LAYOUTS,
    "ingest": INGEST,
    "embed": EMBED,
    "embed into": EMBED_INTO,
    "convert": CONVERT,
    "questions": QUESTIONS,
    "encode": ENCODE,
    "index": INDEX,
    "search": SEARCH,
    "app": APP,
    "inspect": INSPECT_5,
    "export-table": EXPORT_TABLE,
    "order": ORDER,
    "order boxes": ORDER_BOXES,
    "comics-pap": COMICS_PAP,
    "export": EXPORT,
    "import-checkpoint": IMPORT,
}
