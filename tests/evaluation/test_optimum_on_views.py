"""From the store over conversion and the package's questions to the exact answers, as run_eval goes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.data.provenance import read_provenance
from modeling_comicseq.data.synthetic import DEMO_WORLD, SyntheticCorpus, synthesize
from modeling_comicseq.evaluation.metrics import top1_accuracy
from modeling_comicseq.evaluation.optimum import TASKS, candidate_log_ratio, joint_log_posterior
from modeling_comicseq.evaluation.order_optimum import order_posterior
from modeling_comicseq.evaluation.questions import iterate_questions, right_candidates


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    synthesize(folder / "store", num_books=40, world=dataclasses.replace(DEMO_WORLD, width=32), progress=False)
    store, metadata = folder / "store/stage3_embeddings.zarr", folder / "store/stage3_metadata.json"
    splits = convert_store(store, metadata, folder / "arrow", fractions=(1.0, 0.0, 0.0), progress=False)
    return PanelTable(splits["train"]), SyntheticCorpus.from_provenance(read_provenance(splits)).world


QUESTIONS = [
    *((task, "same_book") for task in TASKS),
    ("panel_picking", "cross_book"),
    ("text_cloze", "in_page"),
    ("visual_closure", "in_page"),
    ("text_closure", "later_panels"),
]


@pytest.mark.parametrize(("task", "protocol"), QUESTIONS)
def test_stated_confidence_is_the_accuracy(data, task, protocol):
    table, world = data
    hits, stated, alone = [], [], []
    for _, batch in iterate_questions(table, task, protocol=protocol):
        joint = joint_log_posterior(task, batch, world, protocol)
        hits.append(top1_accuracy(joint, right_candidates(batch)))
        stated.append(np.exp(joint.max(1)))
        alone.append(top1_accuracy(candidate_log_ratio(task, batch, world, protocol), right_candidates(batch)))
    hit, confidence = np.concatenate(hits), np.concatenate(stated)
    deviation = np.sqrt((confidence * (1 - confidence)).sum()) / len(hit)
    assert len(hit) > 400 and hit.mean() > 0.7
    assert abs(hit.mean() - confidence.mean()) < 3.5 * deviation + 1e-6
    assert np.concatenate(alone).mean() < hit.mean() + 0.02


def test_order_of_shuffled_pages(data):
    table, world = data
    for _, batch in iterate_questions(table, "reading_order", reading_order_target="precedence"):
        short = batch["attention_mask"].sum(1) <= 5
        if short.any():
            posterior = order_posterior(batch["panel_embeddings"][short], batch["attention_mask"][short], world)
            labels = batch["labels"][short]
            counted = labels >= 0
            assert ((posterior.precedence > 0.5) == labels)[counted].mean() > 0.7
