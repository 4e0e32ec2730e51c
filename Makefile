# Set-up and the two main commands. `make demo` and `make test` each work as the first command in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= outputs/demo
# Each takes about a gigabyte. A file's tests stay in one process, which makes what they share once.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

.PHONY: demo test check lint clean

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ComicSeq needs Python 3.11 or later: set PYTHON=python3.11, say")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed  ## synthetic corpus -> data set -> pretraining -> evaluation -> a strip vector
	@test -f $(DEMO)/store/stage3_metadata.json || $(BIN)/comicseq synthesize --output $(DEMO)/store
	$(BIN)/comicseq convert --embeddings $(DEMO)/store/stage3_embeddings.zarr --metadata $(DEMO)/store/stage3_metadata.json --output $(DEMO)/dataset
	$(BIN)/accelerate launch --config_file configuration/accelerate/cpu.yaml run_pretraining.py configuration/pretraining/demo.yaml --dataset $(DEMO)/dataset --output_dir $(DEMO)/model
	$(BIN)/python run_eval.py --model $(DEMO)/model --dataset $(DEMO)/dataset --tasks all
	$(BIN)/python -c 'import torch; from transformers import AutoModel; \
	model = AutoModel.from_pretrained("$(DEMO)/model", trust_remote_code=True); \
	print("strip vector:", tuple(model(torch.randn(1, 6, model.config.panel_embedding_dim)).strip_embedding.shape))'

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint  ## everything
	$(PYTEST)

check: lint  ## lint, types and the tests that are quick, before every commit
	$(PYTEST) -m "not slow"

clean:
	rm -rf $(VENV) outputs build
