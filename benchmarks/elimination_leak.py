"""Shows why distractors must not stand in the context: pages of pure noise, where nothing can be learned but the sampler.

Two equal runs on panel picking, one with distractors from the page itself (`in_page`), one with distractors from other
pages of the book (`same_book`), each asked its own kind of questions on held-out books. Chance is 20 %.

    python -m benchmarks.elimination_leak
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np
import torch
from datasets import Dataset, Features, List, Value
from rich.console import Console
from rich.table import Table

from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.evaluation.metrics import bootstrap_mean
from modeling_comicseq.evaluation.questions import draw_question_set
from modeling_comicseq.evaluation.scoring import score_model
from modeling_comicseq.tasks import TASKS
from modeling_comicseq.training.arguments import PretrainingArguments
from modeling_comicseq.training.dataset import PretrainingDataset
from modeling_comicseq.training.trainer import ComicSeqTrainer

TASK = TASKS["panel_picking"]
PAGES_PER_BOOK = 10
PANELS = 6  # the asked one and five others, of which four are offered in_page
WIDTH = 16


def noise_table(num_books: int, seed: int) -> PanelTable:
    """Books of pages of panels that have nothing to do with each other."""
    generator = np.random.default_rng(seed)
    num_pages = num_books * PAGES_PER_BOOK
    vectors = generator.standard_normal((num_pages, PANELS * WIDTH), dtype=np.float32) / np.sqrt(WIDTH)
    columns = {
        "panel_embeddings": list(vectors),
        "num_panels": np.full(num_pages, PANELS),
        "book_id": [f"noise-{page // PAGES_PER_BOOK}" for page in range(num_pages)],
        "page_index": np.arange(num_pages) % PAGES_PER_BOOK,
        "window_start": np.zeros(num_pages, dtype=int),
    }
    features = {name: Value("int32") for name in ("num_panels", "page_index", "window_start")}
    features |= {"book_id": Value("string"), "panel_embeddings": List(Value("float32"))}
    return PanelTable(Dataset.from_dict(columns, features=Features(features)))


def train(protocol: str, table: PanelTable, max_steps: int) -> ComicSeqForPreTraining:
    torch.manual_seed(0)
    weights = {name: float(name == TASK.name) for name in TASKS}
    config = ComicSeqConfig(
        panel_embedding_dim=WIDTH,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        contrastive_weight=0.0,
        task_weights=weights,
    )
    dataset = PretrainingDataset(table, config, protocol=protocol)
    with tempfile.TemporaryDirectory() as folder:
        arguments = PretrainingArguments(
            output_dir=folder,
            max_steps=max_steps,
            per_device_train_batch_size=128,
            learning_rate=2e-3,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            logging_steps=200,
        )
        model = ComicSeqForPreTraining(config)
        ComicSeqTrainer(model=model, args=arguments, train_dataset=dataset, validation_table=None).train()
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max_steps", type=int, default=1200, help="optimiser steps of each run (default: 1200)")
    parser.add_argument("--train_books", type=int, default=400, help="books to train on (default: 400)")
    parser.add_argument("--test_books", type=int, default=600, help="held-out books (default: 600, 6,000 questions)")
    arguments = parser.parse_args()

    train_table, test_table = noise_table(arguments.train_books, seed=0), noise_table(arguments.test_books, seed=1)
    table = Table(title="Pure noise, 5 candidates, held-out books")
    for column in ("distractors", "top-1 %", "95 % interval over books", "questions"):
        table.add_column(column, justify="right")
    for protocol in ("in_page", "same_book"):
        model = train(protocol, train_table, arguments.max_steps)
        questions = draw_question_set(test_table, TASK, protocol, seed=1)
        right = score_model(model, TASK, questions.batches(test_table))
        mean, low, high = bootstrap_mean(right, test_table.books[questions.rows])
        name = f"{protocol} (leaky)" if protocol == "in_page" else protocol
        table.add_row(name, f"{100 * mean:.1f}", f"{100 * low:.1f} to {100 * high:.1f}", f"{len(right):,}")
    Console().print(table)


if __name__ == "__main__":
    main()
