"""COMICS questions: reader, folds, what may be learned from, and that the models learn nothing but comics."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.comics.baselines import context_cosine, longest, with_zeros, word_overlap
from benchmarks.comics.cloze import ClozeTraining, build_cloze_model, cloze_logits
from benchmarks.comics.coherence import CoherenceTraining, made_pairs
from benchmarks.comics.questions import (
    CLOZE_CANDIDATES,
    COHERENCE_CANDIDATES,
    CONTEXT,
    HELD_OUT,
    IDS,
    NUM_FOLDS,
    comics_fold,
    comics_folds,
    read_character_coherence,
    read_text_cloze,
    read_text_pages,
)
from benchmarks.comics.run import (
    BOTH,
    COMICSEQ,
    COSINE,
    REFERENCES,
    ClozeData,
    CoherenceData,
    ComicsData,
    book_texts,
    make_folds,
    results_table,
    run_cloze_fold,
    run_table,
    summarise,
)
from benchmarks.comics.texts import TextBank, cloze_choices
from benchmarks.comics.training import ask
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.stores.splits import split_of

from ..closeness import assert_close

pytestmark = pytest.mark.slow  # trains models of its own

BOOKS = [str(number) for number in range(100, 130)]
TOPICS = 8
SMALL = ClozeTraining(
    text_width=64,
    hidden_size=32,
    dropout=0.0,
    pretraining_epochs=2,
    tuning_epochs=8,
    pretraining_rate=3e-3,
    tuning_rate=3e-3,
    nearby=2,
    random=2,
    batch_size=32,
)
SMALL_PAIRS = CoherenceTraining(text_width=64, hidden_size=32, num_layers=1, dropout=0.0, rate=3e-3)


class MadeEncoder:
    """A text `t3 …` is about topic 3; the vector is the topic's, and a little of the text's own."""

    fingerprint = "made"
    model = SimpleNamespace(config=SimpleNamespace(text_layers=(3, -1)))

    def text_features(self, texts, progress=False):
        topics = np.eye(TOPICS, 12, dtype=np.float32)
        own = np.random.default_rng(0).normal(0, 0.1, (len(texts), 12)).astype(np.float32)
        about = np.asarray([int(text[1]) if text[:1] == "t" and text[1:2].isdecimal() else 0 for text in texts])
        vectors = topics[about] + own
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.concatenate((vectors, vectors), axis=1)


def write(path, candidates, rows):
    names = [*IDS, *CONTEXT, *(name for columns in candidates for name in columns), "correct_answer"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def made_text(topic, book, generator):
    """A text that tells its topic and its book, and by a word of its own nothing else."""
    return f"t{topic} b{book} u{generator.integers(10**9)}"


def made_world(folder, follows, seed=0):
    """Pages whose panels are each about the topic that `follows` the one before; questions about their fourth panel.

    The wrong texts of a question are about any other topic than the right one.
    """
    generator = np.random.default_rng(seed)
    cloze, pairs, pages = [], [], []
    for book in BOOKS:
        for page in range(8):
            topic = int(generator.integers(TOPICS))
            texts = []
            for _ in range(5):
                texts.append(made_text(topic, book, generator))
                topic = follows(topic, generator)
            pages.append(
                {"book_id": f"comics-{book}", "page_name": str(page), "texts": texts, "sequence_index": len(pages)}
            )
            right = int(texts[3][1])
            others = generator.permutation([each for each in range(TOPICS) if each != right])[:2]
            candidates = [texts[3], *(made_text(int(each), book, generator) for each in others)]
            order = generator.permutation(3)
            row = {"book_id": book, "page_id": page, "answer_panel_id": 3}
            row |= {f"context_text_{panel}_0": texts[panel] for panel in range(3)}
            row |= {"context_text_2_1": "and more"}
            cloze.append(
                row
                | {f"answer_candidate_{k}_text": candidates[each] for k, each in enumerate(order)}
                | {"correct_answer": int(np.argmax(order == 0))}
            )
            swap = int(generator.integers(2))
            two = [texts[3], texts[4]]
            pairs.append(
                row
                | {f"answer_candidate_{k}_box_{box}": two[box ^ k ^ swap] for k in range(2) for box in range(2)}
                | {"correct_answer": swap}
            )
    easy = read_text_cloze(write(folder / "text_cloze_easy.csv", CLOZE_CANDIDATES, cloze))
    coherence = read_character_coherence(write(folder / "char_coherence.csv", COHERENCE_CANDIDATES, pairs))
    (folder / "metadata.json").write_text(json.dumps(pages))
    text_pages = read_text_pages(folder / "metadata.json")
    bank = TextBank([easy, coherence], text_pages, MadeEncoder())
    return ComicsData(["easy"], [cloze_choices(easy, bank)], [easy], coherence, text_pages, bank)


def next_topic(topic, generator):
    return (topic + 3) % TOPICS


def any_topic(topic, generator):
    return int(generator.integers(TOPICS))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return made_world(tmp_path_factory.mktemp("comics"), next_topic)


def test_reader(world, tmp_path):
    questions = world.cloze[0]
    assert len(questions) == 8 * len(BOOKS)
    assert questions.book_ids[0] == "comics-100" and questions.pages[9] == 1 and questions.panels[0] == 3
    assert questions.contexts[0][2] == ("t" + questions.contexts[0][2][0][1:], "and more")
    assert len(questions.contexts[0]) == 3 and len(questions.candidates[0]) == 3
    right = questions.candidates[0][questions.answers[0]]
    assert right == (world.pages.texts[0][3],)
    assert (
        world.bank.texts[world.choices[0].contexts[0, 2]] == world.pages.texts[0][2] + " and more"
    )  # boxes are joined
    np.testing.assert_array_equal(world.choices[0].right[:8], [world.bank.rows[t[3]] for t in world.pages.texts[:8]])
    chosen = questions.select(questions.book_ids == "comics-101")
    assert len(chosen) == 8 and set(chosen.book_ids) == {"comics-101"}
    empty = write(tmp_path / "e.csv", CLOZE_CANDIDATES, [{**good_row(), "context_text_0_0": ""}])
    assert read_text_cloze(empty).contexts[0][0] == ()


def good_row():
    row = {"book_id": 1, "page_id": 2, "answer_panel_id": 3, "context_text_0_0": "one"}
    return row | {columns[0]: "two" for columns in CLOZE_CANDIDATES} | {"correct_answer": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correct_answer": 3}, "line 3: correct_answer is 3 but must be below 3"),
        ({"correct_answer": "x"}, "line 3: correct_answer is 'x' but must be a whole number"),
        ({"page_id": "-1"}, "line 3: page_id is '-1'"),
        ({"answer_candidate_1_text": ""}, "line 3: a candidate has no text"),
    ],
)
def test_reader_names_the_wrong_value(tmp_path, change, message):
    path = write(tmp_path / "questions.csv", CLOZE_CANDIDATES, [good_row(), good_row() | change])
    with pytest.raises(ComicSeqDataError, match=message):
        read_text_cloze(path)


def test_reader_names_the_wrong_file(tmp_path):
    path = write(tmp_path / "cloze.csv", CLOZE_CANDIDATES, [good_row()])
    with pytest.raises(ComicSeqDataError, match="cloze.csv has no column 'answer_candidate_0_box_0'"):
        read_character_coherence(path)
    with pytest.raises(ComicSeqDataError, match="nothing.csv cannot be read as CSV"):
        read_text_cloze(tmp_path / "nothing.csv")
    path.write_text(path.read_text().splitlines()[0])
    with pytest.raises(ComicSeqDataError, match="holds no question"):
        read_text_cloze(path)
    short = write(tmp_path / "short.csv", CLOZE_CANDIDATES, [good_row()])
    short.write_text(short.read_text() + "1,2,3\n")
    with pytest.raises(ComicSeqDataError, match="line 3: the row has not as many cells as the header"):
        read_text_cloze(short)
    (tmp_path / "m.json").write_text('[{"book_id": "b", "page_name": "cover", "texts": []}]')
    with pytest.raises(ComicSeqDataError, match="page 0 lacks `book_id`, `texts` or a number as `page_name`"):
        read_text_pages(tmp_path / "m.json")


def test_folds_are_a_stable_cut_of_the_books():
    ids = [f"comics-{number}" for number in range(5000)]
    folds = comics_folds(ids)
    assert comics_fold("comics-2946") == comics_folds(["comics-2946"])[0] == 2  # never to change
    np.testing.assert_array_equal(folds == HELD_OUT, [split_of(each) == "test" for each in ids])
    shares = np.bincount(folds + 1, minlength=NUM_FOLDS + 1) / len(ids)
    assert np.abs(shares - [0.1, *[0.18] * NUM_FOLDS]).max() < 0.02


def check_apart(data):
    """Nothing that is learned from names a book or a page that is asked; returns how many questions are asked."""
    asked = 0
    held_out = {book for book in map(str, np.unique(data.pages.book_ids)) if comics_fold(book) == HELD_OUT}
    for is_held_out in (False, True):
        seen: list[str] = []
        for fold in make_folds(data, is_held_out):
            assert fold.train and fold.test and not fold.train & fold.test
            assert fold.test == held_out if is_held_out else not held_out & (fold.train | fold.test)
            part = ClozeData(data, fold)
            learned = {*zip(part.pages.book_ids.tolist(), part.pages.pages.tolist(), strict=True)}
            tested: set[tuple[str, int]] = set()
            for train, test in zip(part.train, part.test, strict=True):
                learned |= {*zip(train.book_ids.tolist(), train.pages.tolist(), strict=True)}
                tested |= {*zip(test.book_ids.tolist(), test.pages.tolist(), strict=True)}
                asked += len(test)
            assert learned and tested and not learned & tested
            assert not {book for book, _ in learned} & {book for book, _ in tested}
            assert {book for book, _ in learned} <= fold.train
            pairs = CoherenceData(data, fold)
            assert set(pairs.train.book_ids) | set(pairs.made.book_ids) <= fold.train
            assert len(pairs.test) and set(pairs.test.book_ids) <= fold.test
            # Nor does a text that is known to stand in a book that is asked, and in no other, whatever it was for.
            asked_only = set(book_texts(data, fold.test)) - set(book_texts(data, fold.train))
            shown = [each for train in part.train for each in (train.contexts, train.candidates)]
            made = [part.pages.contexts, part.pages.right, *part.pages.nearby, part.texts]
            assert asked_only and not asked_only & set(np.concatenate([each.ravel() for each in (*shown, *made)]))
            seen += sorted(fold.test)
        assert len(seen) == len(set(seen))  # every book is asked once
    return asked


def test_no_book_is_learned_from_and_asked(world):
    assert check_apart(world) == len(world.choices[0])


def test_no_book_of_the_real_questions_is_learned_from_and_asked():
    if "COMICSEQ_DATA" not in os.environ:
        pytest.skip("set COMICSEQ_DATA to the folder of the shared comics to check the real questions")
    root = Path(os.environ["COMICSEQ_DATA"])
    files = [read_text_cloze(root / f"comics_text_cloze/text_cloze_{kind}.csv") for kind in ("easy", "hard")]
    coherence = read_character_coherence(root / "comics_text_cloze/char_coherence.csv")
    pages = read_text_pages(root / "stage3/comics_text/stage3_metadata.json")
    assert [len(each) for each in (*files, coherence)] == [6664, 6664, 5455]
    bank = TextBank([*files, coherence], pages, MadeEncoder())
    choices = [cloze_choices(each, bank) for each in files]
    np.testing.assert_array_equal(choices[0].right, choices[1].right)  # files are joined panel by panel
    np.testing.assert_array_equal(choices[0].contexts, choices[1].contexts)
    assert check_apart(ComicsData(["easy", "hard"], choices, files, coherence, pages, bank)) == 2 * 6664


def test_baselines_by_hand(tmp_path):
    row = good_row() | {
        "context_text_0_0": "t1 red dog",
        "context_text_2_0": "t1 big dog",
        "answer_candidate_0_text": "t1 dog dog cat",
        "answer_candidate_1_text": "t2 big red dog runs",
        "answer_candidate_2_text": "t3 ox",
    }
    questions = read_text_cloze(write(tmp_path / "q.csv", CLOZE_CANDIDATES, [row]))
    pages = read_text_pages_of([])
    bank = TextBank([questions], pages, MadeEncoder())
    choices = cloze_choices(questions, bank)
    np.testing.assert_array_equal(longest(choices, bank), [[4, 5, 2]])
    np.testing.assert_allclose(word_overlap(choices, bank), [[2 / 3, 3 / 5, 0]])
    vectors = with_zeros(np.eye(len(bank.texts), dtype=np.float32))
    vectors[bank.rows["t1 dog dog cat"]] = vectors[bank.rows["t1 red dog"]]
    assert_close(context_cosine(choices, vectors), [[1 / np.sqrt(2), 0, 0]])


def read_text_pages_of(pages):
    from benchmarks.comics.questions import TextPages

    return TextPages(np.zeros(0, dtype=str), np.zeros(0, dtype=int), pages)


def test_asked_text_and_padding_are_not_read():
    torch.manual_seed(0)
    vectors = torch.randn(9, 16)
    vectors[-1] = 0
    model = build_cloze_model(SMALL, 16, 0).eval()
    contexts, candidates = np.asarray([[-1, 2, 3]]), np.asarray([[4, 5, -1]])
    with torch.no_grad():
        logits = cloze_logits(model, vectors, contexts, candidates)
        vectors[-1] = float("nan")
        again = cloze_logits(model, vectors, contexts, candidates)
    torch.testing.assert_close(logits, again)
    assert logits[0, 2] < -1e30
    assert not torch.allclose(logits, cloze_logits(model, vectors, np.asarray([[1, 2, 3]]), candidates))


@pytest.mark.slow
def test_learns_what_follows_what(world, tmp_path, monkeypatch):
    """The next topic is never like the last, so that cosine is no help, but always the same."""
    fold = make_folds(world, held_out=False)[1]
    asked, rows = run_cloze_fold(world, fold, SMALL, 1, tmp_path, progress=False)
    accuracy = {row["row"]: row["easy"]["accuracy"] for row in summarise([(asked, rows)], ["easy"])}
    assert accuracy["chance"] == pytest.approx(1 / 3)
    assert accuracy[COMICSEQ] > 0.8 > 0.55 > accuracy[COSINE]
    assert accuracy["ComicSeq without context"] < 0.55
    assert accuracy["ComicSeq, pretrained, not tuned"] != accuracy[COMICSEQ]

    def never(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr("benchmarks.comics.run.pretrain_cloze", never)
    _, again = run_cloze_fold(world, fold, SMALL, 1, tmp_path, progress=False)
    for name in rows:  # what was finished is read, not made again
        np.testing.assert_array_equal(again[name], rows[name])
    with pytest.raises(AssertionError, match="trained again"):
        run_cloze_fold(world, fold, SMALL, 2, tmp_path, progress=False)


@pytest.mark.slow
def test_table_asks_every_development_question_once(world, tmp_path):
    quick, quick_pairs = replace(SMALL, tuning_epochs=1), replace(SMALL_PAIRS, page_epochs=1, tuning_epochs=6)
    results = run_table(world, quick, quick_pairs, 1, tmp_path, progress=False)
    num_asked = sum(comics_fold(book) != HELD_OUT for book in world.choices[0].book_ids)
    rows = {row["row"]: row["easy"] for row in results["text_cloze"]}
    assert {row["questions"] for row in rows.values()} == {num_asked}
    for row in rows.values():
        assert row["low"] <= row["accuracy"] <= row["high"]
        for short, reference in REFERENCES.items():
            assert row["minus"][short][0] == pytest.approx(row["accuracy"] - rows[reference]["accuracy"])
    pairs = {row["row"]: row["coherence"]["accuracy"] for row in results["character_coherence"]}
    assert pairs["chance"] == pytest.approx(0.5)
    assert pairs[COMICSEQ] > 0.65  # of the two topics, one is what follows the panel before
    assert results_table(results["text_cloze"], "easy", "COMICS").row_count == len(rows) and BOTH in rows


@pytest.mark.slow
def test_noise_teaches_nothing(tmp_path):
    """Panels about any topic: no row can be better than chance, whatever the sampler does."""
    data = made_world(tmp_path, any_topic)
    fold = make_folds(data, held_out=False)[1]
    asked, rows = run_cloze_fold(data, fold, SMALL, 1, tmp_path / "rows", progress=False)
    right = rows[COMICSEQ][0].argmax(1) == asked[0].answers
    # The right topic may be any, the wrong ones never the right one: elimination gives nothing either.
    assert abs(right.mean() - 1 / 3) < 4 * np.sqrt(2 / 9 / len(right))


def test_made_pairs_are_neighbouring_boxes_of_training_panels(world):
    made = made_pairs([world.cloze[0].select(np.arange(4))], world.bank)
    assert len(made) == 4
    texts = world.bank.texts
    shown = {page[2]: page[:2] for page in world.pages.texts}
    for pair, answer, context in zip(made.candidates, made.answers, made.contexts, strict=True):
        assert texts[pair[answer][1]] == "and more" == texts[pair[1 - answer][0]]
        assert (context[0] == -1).all()
        assert [texts[row] for row in context[1:, 0]] == shown[texts[pair[answer][0]]]


def test_ask_does_not_depend_on_the_batch(world):
    vectors = torch.from_numpy(world.bank.vectors(np.arange(len(world.bank.texts)), 16))
    model = build_cloze_model(SMALL, 16, 0)
    whole = ask(model, cloze_logits, vectors, world.choices[0])
    one = ask(model, cloze_logits, vectors, world.choices[0].select(np.asarray([7])))
    assert_close(one[0], whole[7])
    assert_close(np.exp(whole).sum(1), np.ones(len(whole)))
