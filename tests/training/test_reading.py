"""Runs whose candidate texts read words: what is trained, validated, saved and gone on from."""

import numpy as np
import pytest
import torch

from modeling_comicseq import ComicPageForPreTraining, ComicPageModel
from modeling_comicseq.evaluation.questions import draw_question_set
from modeling_comicseq.evaluation.scoring import model_logits
from modeling_comicseq.model.reader_comicpage import READING_TASKS
from modeling_comicseq.tasks import TASKS
from modeling_comicseq.training.arguments import parse_arguments
from modeling_comicseq.training.features import embed_table, to_device
from modeling_comicseq.training.reading import reads_words, with_word_scores
from modeling_comicseq.training.run import build_model, configuration, open_encoder, with_encoder
from modeling_comicseq.training.run import main as train
from modeling_comicseq.training.stores import open_data
from modeling_comicseq.training.wanted import WantedTasks
from tests.library.page_sets import write_pages

from .page_runs import argv, page_rows, write_inputs

READING = {"text_reading": "tokens", "text_reading_layers": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    write_inputs(folder)
    return folder


def opened(words):
    arguments = parse_arguments(words)
    encoder, wanted = open_encoder(arguments), WantedTasks(arguments, configuration(arguments))
    tables = open_data(arguments, wanted, encoder)
    torch.manual_seed(0)
    return with_encoder(arguments, encoder, build_model(arguments, tables[0], wanted, encoder)).eval(), *tables


@torch.no_grad()
def test_validation_is_told_what_the_words_say(folder, tmp_path):
    model, _, table = opened(argv(folder, tmp_path / "model", tuned="none", **READING))
    assert table.contents.text_features is None and table.contents.image_features is not None
    torch.nn.init.normal_(model.text_reader.score.weight)
    vectors = embed_table(model, table)
    for name in READING_TASKS:
        assert reads_words(model, name) and not reads_words(model, "panel_picking")
        questions = draw_question_set(vectors, TASKS[name], "same_book", num_candidates=3, seed=0, repeats=2)
        batches = [list(questions.batches(each, 4)) for each in (vectors, table)]
        told = list(with_word_scores(model, table, name, *batches))
        for (_, batch), (_, numbered) in zip(told, batches[1], strict=True):
            filled = table.contents.fill({name: {key: each for key, each in numbered.items() if key != "labels"}})
            asked = {
                key: each
                if key == "contents"
                else {k: v if isinstance(v, str) else torch.as_tensor(v) for k, v in each.items()}
                for key, each in filled.items()
            }
            expected = model(**asked | {"contents": to_device(asked["contents"], model.device)}).task_logits[name]
            found = model_logits(model.sequence_model, name, batch)
            np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)
            assert np.ptp(batch["candidate_scores"]) > 0


def test_questions_without_words_are_answered_by_vectors(folder, tmp_path):
    rows = page_rows()
    for row in rows:
        row |= {"texts": [[] for _ in row["boxes"]], "captions": None}
    write_pages(tmp_path / "pages", rows)
    words = argv(folder, tmp_path / "model", tuned="none", pages=tmp_path / "pages", tasks="available", **READING)
    model, _, table = opened(words)
    questions = draw_question_set(table, TASKS["text_closure"], "same_book", num_candidates=3, seed=0)
    batches = list(questions.batches(table, 4))
    told = list(with_word_scores(model, table, "text_closure", batches, batches))
    assert told and all("candidate_scores" not in batch for _, batch in told)


@torch.no_grad()
def test_no_picture_is_read_for_what_words_say(folder, tmp_path):
    model, _, table = opened(argv(folder, tmp_path / "model", tuned="all", **READING))
    questions = draw_question_set(table, TASKS["text_cloze"], "same_book", num_candidates=3, seed=0)
    batches = list(questions.batches(table, 4))
    assert table.contents.image_features is None
    table.contents.pages = None  # whose pictures could not be cut out any more
    told = list(with_word_scores(model, table, "text_cloze", batches, batches))
    assert all(batch["candidate_scores"].any() for _, batch in told)


@pytest.mark.slow
def test_a_run_trains_the_reader_and_another_goes_on_from_it(folder, tmp_path, capsys):
    output = tmp_path / "model"
    words = argv(folder, output, tuned="none", max_steps=2, encoder_learning_rate=0.01, **READING)
    start = opened(words)[0]
    assert train(words) is None
    assert "Candidate texts read the words" in capsys.readouterr().out
    model = ComicPageModel.from_pretrained(output)
    assert model.config.text_reading == "tokens" and model.config.text_reading_layers == 1
    for (name, weight), before in zip(
        model.text_reader.named_parameters(), start.text_reader.parameters(), strict=True
    ):
        assert not torch.equal(weight, before), name
    for name, weight in model.panel_encoder.state_dict().items():
        assert torch.equal(weight, start.panel_encoder.state_dict()[name]), name
    other = argv(folder, output, tuned="none", max_steps=3, encoder_learning_rate=0.01, text_reading="vectors")
    assert "of another run: its `text_reading` is 'tokens', not 'vectors'" in str(train(other))
    words = argv(folder, tmp_path / "further", tuned="none", model=output)
    words = [word for word in words if word not in ("--encoder", str(folder / "encoder"))]
    assert f"`text_reading_layers` is 2, and {output} has a reader of 1" in str(
        train([*words, "--text_reading_layers", "2"])
    )
    further, _, _ = opened(words)
    assert isinstance(further, ComicPageForPreTraining)
    for name, weight in model.state_dict().items():
        assert torch.equal(further.state_dict()[name], weight), name


def test_what_cannot_be_is_said(folder, tmp_path):
    assert "`text_reading` is 'words' but must be one of vectors, tokens" in str(
        train(argv(folder, tmp_path / "a", text_reading="words"))
    )
    assert "from 1 to " in str(train(argv(folder, tmp_path / "b", text_reading="tokens", text_reading_layers=9)))
