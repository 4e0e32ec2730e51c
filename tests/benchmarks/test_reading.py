"""The COMICS row whose candidates read the words: what is kept of texts, and that it learns what follows what."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertTokenizerFast

from benchmarks.comics.reading import ReadingTraining, ask_reading, build_reader
from benchmarks.comics.run import READING_RANKER, WORDS, Reading, make_folds, run_cloze_fold
from benchmarks.comics.training import by_length
from modeling_comicseq.encoders.panel_encoder import load_panel_encoder
from tests.tiny_encoders import write_text_model

from .test_comics import SMALL, TOPICS, made_world, next_topic


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return made_world(tmp_path_factory.mktemp("comics"), next_topic)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A text encoder that knows the words for topics."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"t{topic}" for topic in range(TOPICS))]
    folder = tmp_path_factory.mktemp("encoder")
    write_text_model(folder, vocab_size=len(words), hidden_size=16, initializer_range=0.5)
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer.json").unlink(missing_ok=True)
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return load_panel_encoder(f"+{folder}", device="cpu")


def test_words_are_the_states_of_each_text_alone(world, encoder, tmp_path, monkeypatch):
    reading = Reading(ReadingTraining(num_layers=1), encoder, tmp_path)
    words = reading.words(world)
    rows = np.asarray([3, 40, 7])
    states, mask = words.select(rows)
    for place, row in enumerate(rows):
        tokens = encoder.processor.tokenizer([world.bank.texts[row]], return_tensors="pt")
        with torch.no_grad():
            expected = encoder.model.text_model(**tokens, output_hidden_states=True).hidden_states[1][0]
        torch.testing.assert_close(states[place][mask[place]], expected, rtol=2e-3, atol=2e-3)
    monkeypatch.setattr(encoder.model, "read_tokens", None)  # what is kept is not read again
    np.testing.assert_array_equal(reading.words(world).states, words.states)


def test_answers_do_not_depend_on_the_batch(world, encoder, tmp_path):
    words = Reading(ReadingTraining(num_layers=1), encoder, tmp_path).words(world)
    reader = build_reader(encoder, 1, 0)
    whole = ask_reading(reader, words, world.choices[0])
    one = ask_reading(reader, words, world.choices[0].select(np.asarray([7])))
    np.testing.assert_allclose(one[0], whole[7], atol=0.02)  # bfloat16
    np.testing.assert_allclose(np.exp(whole).sum(1), 1, rtol=1e-5)


@pytest.mark.slow
def test_the_reader_learns_what_follows_what(world, encoder, tmp_path):
    settings = ReadingTraining(num_layers=2, pretraining_epochs=4, tuning_epochs=6, rate=3e-3, batch_size=32)
    fold = make_folds(world, held_out=False)[1]
    quick = replace(SMALL, pretraining_epochs=0, tuning_epochs=1)
    asked, rows = run_cloze_fold(
        world, fold, quick, 1, tmp_path / "rows", progress=False, reading=Reading(settings, encoder, tmp_path)
    )
    right = rows[WORDS][0].argmax(1) == asked[0].answers
    assert right.mean() > 0.7 and READING_RANKER in rows


def test_questions_of_one_length_stand_together():
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 60, 330)
    order = by_length(generator.permutation(330), lengths, 10, generator)
    assert len(order) == 330 == len(np.unique(order))
    spread = np.ptp(lengths[order].reshape(-1, 10), axis=1).mean()
    assert spread < 0.3 * np.ptp(lengths)
