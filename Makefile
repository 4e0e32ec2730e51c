# Set-up and the two main commands. `make demo` and `make test` each work as the first command in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= outputs/demo
DEMO_PAGES ?= outputs/demo-pages
# What is drawn for it. Reading the lettering takes most of the time: about a second a page.
COMICS ?= --books 36 --pages 5 --width 600
PAGE ?= drawn-0-0013/003.png
# Each takes one to two gigabytes, and waits for processes of its own now and then. A file's tests stay in one process, which makes what they share once.
WORKERS ?= 3
# What is imported is compiled once, by whoever imports it first, and not anew in every process that the tests start.
unexport PYTHONDONTWRITEBYTECODE
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo demo-pages test test-all check lint types tests clean

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ComicSeq needs Python 3.11 or later: set PYTHON=python3.11, say")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed  ## synthetic corpus -> data set -> pretraining -> evaluation -> a strip vector
	@test -f $(DEMO)/store/stage3_metadata.json || $(BIN)/comicseq synthesize --output $(DEMO)/store
	$(BIN)/comicseq convert --embeddings $(DEMO)/store/stage3_embeddings.zarr --metadata $(DEMO)/store/stage3_metadata.json --output $(DEMO)/dataset
	$(BIN)/accelerate launch --config_file configuration/accelerate/cpu.yaml run_pretraining.py configuration/pretraining/demo.yaml --dataset $(DEMO)/dataset --output_dir $(DEMO)/model
	$(BIN)/python run_eval.py --model $(DEMO)/model --dataset $(DEMO)/dataset --tasks all
	$(BIN)/python -c 'import torch; from transformers import AutoModel; \
	model = AutoModel.from_pretrained("$(DEMO)/model", trust_remote_code=True); \
	print("strip vector:", tuple(model(torch.randn(1, 6, model.config.panel_embedding_dim)).strip_embedding.shape))'

demo-pages: $(VENV)/.installed  ## drawn comics, as pictures alone -> pages -> a vector a panel -> pretraining -> a model that takes pages -> search, a page with answers
	@test -f $(DEMO_PAGES)/drawn/panels.json || $(BIN)/comicseq draw $(COMICS) --num-proc 2 --output $(DEMO_PAGES)/drawn
	$(BIN)/comicseq ingest $(DEMO_PAGES)/drawn --ocr rapidocr --num-proc 2 --output $(DEMO_PAGES)/pages
	$(BIN)/comicseq embed $(DEMO_PAGES)/pages --output $(DEMO_PAGES)/stage3_embeddings.zarr
	$(BIN)/comicseq convert --embeddings $(DEMO_PAGES)/stage3_embeddings.zarr --metadata $(DEMO_PAGES)/stage3_metadata.json --fractions 0.6 0.2 0.2 --output $(DEMO_PAGES)/dataset
	$(BIN)/comicseq pretrain demo_pages --dataset $(DEMO_PAGES)/dataset --output-dir $(DEMO_PAGES)/model
	$(BIN)/comicseq evaluate --model $(DEMO_PAGES)/model --dataset $(DEMO_PAGES)/dataset
	$(BIN)/comicseq export $(DEMO_PAGES)/model $(DEMO_PAGES)/page_model --encoder efficientnet-lite0+all-MiniLM-L6-v2 --overwrite
	$(BIN)/comicseq encode --model $(DEMO_PAGES)/model --embeddings $(DEMO_PAGES)/stage3_embeddings.zarr --metadata $(DEMO_PAGES)/stage3_metadata.json --output $(DEMO_PAGES)/stage5_embeddings.zarr
	$(BIN)/comicseq index --store $(DEMO_PAGES)/stage5_embeddings.zarr --pages $(DEMO_PAGES)/pages --embeddings $(DEMO_PAGES)/stage3_embeddings.zarr --output $(DEMO_PAGES)/index
	$(BIN)/comicseq search --index $(DEMO_PAGES)/index --text "the fish is lost at the beach" -k 5 --contact-sheet $(DEMO_PAGES)/search.png
	$(BIN)/comicseq read $(PAGE) --pages $(DEMO_PAGES)/pages --model $(DEMO_PAGES)/page_model --output $(DEMO_PAGES)/page.png
	@echo 'To look at: $(DEMO_PAGES)/search.png, $(DEMO_PAGES)/page.png, and $(BIN)/comicseq app --index $(DEMO_PAGES)/index --model $(DEMO_PAGES)/page_model'

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

tests: $(VENV)/.installed
	$(PYTEST) -m "$(SELECT)"

# Types are checked beside the tests.
CHECK := @$(MAKE) --no-print-directory --jobs 2 types tests

test: lint  ## lint, types and all tests but the dearest
	$(CHECK) SELECT="not thorough"

test-all: lint  ## everything
	$(CHECK) SELECT=""

check: lint  ## lint, types and the tests that are quick, before every commit
	$(CHECK) SELECT="not slow and not thorough"

clean:
	rm -rf $(VENV) outputs build
