"""What `benchmarks.streams` compares with what."""

import numpy as np

from benchmarks.streams import WITHOUT_PICTURE, ask, rows_of
from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining
from modeling_comicseq.evaluation.questions import draw_question_set
from modeling_comicseq.tasks import TASKS
from tests.data.made_dataset import made_table


def test_differences_are_to_what_was_shown_the_same():
    right = {
        ("fused", ""): np.asarray([1.0, 0.0]),
        ("fused", "texts alone"): np.asarray([0.0, 0.0]),
        ("separate", ""): np.asarray([1.0, 1.0]),
        ("separate", "texts alone"): np.asarray([0.0, 1.0]),
        ("trained on texts", ""): np.asarray([1.0, 0.0]),
    }
    rows = {(row["answerer"], row["shown"]): row for row in rows_of("text_cloze", np.asarray(["a", "b"]), right)}
    alone = rows["separate", "texts alone"]
    compared = {name: value[0] for name, value in alone.items() if name.startswith("minus")}
    assert compared == {"minus fused": 0.5, "minus all shown": -0.5, "minus trained on it": 0.0}
    whole = {name: value[0] for name, value in rows["separate", ""].items() if name.startswith("minus")}
    assert whole == {"minus fused": 0.5, "minus trained on texts": 0.5}


def test_both_kinds_of_models_are_asked_with_all_and_with_parts():
    table = made_table([[3, 4, 3]] * 3)
    small = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 16}
    widths = {f"{name}_embedding_dim": 4 for name in ("visual", "text", "caption")}
    models = {}
    for streams, width in (("fused", 4), ("separate", 8)):
        config = ComicSeqConfig(streams=streams, panel_embedding_dim=width, **widths, **small)
        models[streams] = ComicSeqForPreTraining(config).eval(), "both"
    task = TASKS["text_cloze"]
    questions = draw_question_set(table, task, num_candidates=3)
    right = ask(models, table, task, questions)
    shown = {"", "pictures alone", "texts alone", WITHOUT_PICTURE}
    assert {key for key in right if key[0] in models} == {(name, each) for name in models for each in shown}
    assert all(values.shape == (len(questions),) for values in right.values())
