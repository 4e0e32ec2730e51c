"""The evaluation from its command line on: several models, frozen questions, origins, cards, and what is refused."""

from __future__ import annotations

import json
import re

import pytest
import torch
from huggingface_hub import ModelCard
from typer.testing import CliRunner

import run_eval
from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining
from modeling_comicseq.checkpoints.provenance import read_training_provenance, save_training_provenance
from modeling_comicseq.cli import app
from modeling_comicseq.data.conversion import convert_store
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError, ComicSeqError
from modeling_comicseq.evaluation.arguments import parse_arguments
from modeling_comicseq.stores.provenance import read_provenance

from ..stores.stage3_stores import WIDTHS, make_source
from .conftest import make_corpus


@pytest.fixture(scope="module")
def models(tmp_path_factory, small_corpus):
    folder = tmp_path_factory.mktemp("models")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    for number, name in enumerate(("first", "second")):
        torch.manual_seed(number)
        ComicSeqForPreTraining(ComicSeqConfig(panel_embedding_dim=32, **sizes)).save_pretrained(folder / name)
        save_training_provenance(folder / name, read_provenance(str(small_corpus)))
    return folder


def evaluate(models, dataset, *arguments: str, names=("first",)) -> None:
    run_eval.main(["--model", *(str(models / name) for name in names), "--dataset", str(dataset), *arguments])


def questions(dataset, folder, *arguments: str):
    command = ["questions", "--dataset", str(dataset), "--output", str(folder), "--split", "train", *arguments]
    return CliRunner().invoke(app, command)


@pytest.mark.slow
def test_two_models_are_compared_on_frozen_questions(models, small_corpus, tmp_path, capsys):
    done = questions(
        small_corpus, tmp_path / "set", "--tasks", "panel_picking,reading_order", "--repeats", "1", "--seed", "4"
    )
    assert done.exit_code == 0 and "panel_picking" in done.stdout, done.output
    out = tmp_path / "out"
    evaluate(
        models, small_corpus, "--questions", str(tmp_path / "set"), "--output_dir", str(out), names=("first", "second")
    )
    assert re.search(r"panel_picking, same_book: first minus second [+-]\d", capsys.readouterr().out)
    found = json.loads((out / "results.json").read_text())
    about = json.loads((tmp_path / "set" / "questions.json").read_text())
    assert found["questions"]["fingerprint"] == about["fingerprint"]
    fingerprints = {(each["task"], each["protocol"]): each["fingerprint"] for each in about["sets"]}
    assert all(r["questions"] == fingerprints[r["task"], r["protocol"]] for r in found["results"])
    assert {r["task"] for r in found["retrieval"]} == {"same_book_retrieval", "half_page_retrieval"}
    assert {path.name for path in out.iterdir()} == {"results.json", "report.md", "scores.png", "by_page_length.png"}
    assert not (models / "first" / "README.md").exists()  # results elsewhere leave the models as they are

    # The same arguments without a frozen set ask the same questions and get the same scores.
    arguments = ("--split", "train", "--tasks", "panel_picking", "--repeats", "1", "--seed", "4")
    evaluate(models, small_corpus, *arguments, "--output_dir", str(tmp_path / "drawn"))
    again = json.loads((tmp_path / "drawn" / "results.json").read_text())["results"]
    scores = {(r["task"], r["protocol"], r["answerer"]): (r["score"], r["questions"]) for r in found["results"]}
    for result in again:
        key = (result["task"], result["protocol"], result["answerer"])
        assert scores[key] == (result["score"], result["questions"])


def test_more_candidates_than_the_optimum_supports_are_asked_all_the_same(models, small_corpus, tmp_path, capsys):
    arguments = ("--split", "train", "--tasks", "panel_picking", "--protocol", "same_book", "in_page")
    sizes = ("--num_candidates", "20", "--repeats", "1")
    evaluate(models, small_corpus, *arguments, *sizes, "--output_dir", str(tmp_path / "out"))
    printed = capsys.readouterr().err
    assert "No optimum for panel_picking, same_book: a question has 20 candidates" in printed
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(found["notes"]) == 3 and "in_page (leaky)" in found["notes"][1]
    few = "Intervals and bands over 8 books mean little: trust them from 10 books on."
    assert found["notes"][2] == few and f"- Note: {few}" in (tmp_path / "out" / "report.md").read_text()
    assert {row["role"] for row in found["results"]} == {"baseline", "ablation", "model"}
    assert {row["protocol"]: row["leaky"] for row in found["results"]} == {"same_book": False, "in_page": True}
    report = (tmp_path / "out" / "report.md").read_text()
    assert "## panel_picking, in_page (leaky)" in report and "in_page," not in report.replace("(leaky)", "")


def test_leaky_questions_are_marked_where_they_are_frozen(small_corpus, tmp_path):
    done = questions(
        small_corpus, tmp_path / "set", "--tasks", "panel_picking", "--protocol", "in_page", "--repeats", "1"
    )
    assert done.exit_code == 0 and "leaky" in done.stdout
    (about,) = json.loads((tmp_path / "set" / "questions.json").read_text())["sets"]
    assert about["leaky"] is True


def test_results_go_into_the_model_s_folder_and_on_its_card(models, small_corpus, capsys):
    evaluate(
        models, small_corpus, "--split", "train", "--tasks", "caption_relevance", "--repeats", "1", names=("second",)
    )
    folder = models / "second"
    results = json.loads((folder / "results.json").read_text())
    score = {(r["protocol"], r["answerer"]): r["score"] for r in results["results"]}["same_book", "second"]
    card = ModelCard.load(folder / "README.md")
    assert any(r.metric_value == round(score, 4) and r.metric_type == "accuracy" for r in card.data.eval_results)
    assert results["questions"]["fingerprint"] in card.text and "pages of 8 books" in card.text
    assert "by bootstrap over books. Intervals and bands over 8 books mean little" in card.text
    assert "Warning" not in capsys.readouterr().err

    # Questions of fewer sets do not take the place of these.
    fewer = ("--split", "train", "--tasks", "caption_relevance", "--protocol", "cross_book", "--repeats", "1")
    evaluate(models, small_corpus, *fewer, names=("second",))
    assert "README.md keeps its scores, which are of more questions (caption_relevance, same_book, say)" in (
        capsys.readouterr().out
    )
    assert ModelCard.load(folder / "README.md").text == card.text


@pytest.mark.slow
def test_vectors_of_another_origin_are_refused_unless_meant(models, tmp_path, capsys):
    arguments = (
        "--split",
        "train",
        "--tasks",
        "reading_order",
        "--repeats",
        "1",
        "--output_dir",
        str(tmp_path / "out"),
    )
    seed = make_corpus(tmp_path / "seed", num_books=2, seed=7)  # another corpus of the same world
    evaluate(models, seed, *arguments)
    assert "Warning" not in capsys.readouterr().err
    world = make_corpus(tmp_path / "world", num_books=2, world={"maps_seed": 1})
    with pytest.raises(
        ComicSeqDataError, match="first was trained on vectors of another origin .* give --other-origin"
    ):
        evaluate(models, world, *arguments)
    evaluate(models, world, *arguments, "--other_origin")
    printed = capsys.readouterr().err
    assert "first was trained on vectors of another origin than those of" in printed and "visual_encoder is" in printed
    assert "another origin" in json.loads((tmp_path / "out" / "results.json").read_text())["notes"][0]


def test_a_checkpoint_without_provenance_is_not_warned_about(models, tmp_path):
    ComicSeqForPreTraining(ComicSeqConfig(hidden_size=32, num_attention_heads=2)).config.save_pretrained(tmp_path)
    assert read_training_provenance(str(tmp_path)) == {}
    written = read_training_provenance(str(models / "first"))
    assert written["counts"]["train"]["books"] == 8 and "store" not in json.dumps(written)  # no paths of this machine


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--split", "validation"), "The split 'validation' of .* holds no page"),
        (("--split", "tests"), "has no split 'tests' but train"),
        (("--questions", "nowhere"), "nowhere is no question set"),
        (
            ("--questions", "nowhere", "--seed", "3"),
            "`seed` is fixed by the frozen questions in nowhere: leave it out",
        ),
    ],
)
def test_one_clear_error(models, small_corpus, arguments, message):
    with pytest.raises(ComicSeqError, match=message):
        evaluate(models, small_corpus, *arguments)


def test_models_that_do_not_fit(models, small_corpus, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ComicSeqDataError, match="There is no .*nowhere: name a model configuration, a checkpoint folder"
    ):
        run_eval.main(["--model", str(tmp_path / "nowhere"), "--dataset", str(small_corpus), "--split", "train"])
    with pytest.raises(
        ComicSeqDataError, match="empty is no ComicSeq checkpoint: name a model on the Hub, or the folder"
    ):
        run_eval.main(["--model", str(tmp_path / "empty"), "--dataset", str(small_corpus), "--split", "train"])
    narrow = ComicSeqConfig(panel_embedding_dim=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    ComicSeqForPreTraining(narrow).save_pretrained(tmp_path / "narrow")
    with pytest.raises(
        ComicSeqDataError, match="`panel_embeddings` of .* is 32 wide but `panel_embedding_dim` of .*narrow is 16: use"
    ):
        run_eval.main(["--model", str(tmp_path / "narrow"), "--dataset", str(small_corpus), "--split", "train"])


def test_questions_that_do_not_fit(models, small_corpus, tmp_path):
    assert (
        questions(small_corpus, tmp_path / "set", "--tasks", "panel_picking", "--protocol", "same_book").exit_code == 0
    )
    frozen = ("--questions", str(tmp_path / "set"))
    with pytest.raises(
        ComicSeqDataError, match="holds no such questions of text_cloze: it has panel_picking, same_book"
    ):
        evaluate(models, small_corpus, *frozen, "--tasks", "text_cloze")
    with pytest.raises(ComicSeqDataError, match="asks about other data than the split 'train' of"):
        evaluate(models, make_corpus(tmp_path / "other", num_books=3, seed=1), *frozen)
    with pytest.raises(ComicSeqArgumentError, match="`model` names .*first twice"):
        evaluate(models, small_corpus, *frozen, names=("first", "first"))
    done = questions(small_corpus, tmp_path / "set")
    assert done.exit_code == 1 and "exists: name another folder, or remove it" in done.output
    done = questions(small_corpus, tmp_path / "new", "--tasks", "panelpicking")
    assert done.exit_code == 1 and "`tasks` names 'panelpicking'" in done.output


@pytest.mark.slow
def test_long_pages_and_captions_of_another_width(tmp_path, capsys):
    """Pages of up to 40 panels stand in windows and count once; captions that are no panel vectors have no cosine."""
    source = make_source(tmp_path / "in", pages=16, slots=40)
    convert_store(source.embeddings, source.metadata, tmp_path / "data", fractions=(0, 0, 1), progress=False)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    widths = {f"{name.removesuffix('s')}_dim": width for name, width in WIDTHS.items()}
    ComicSeqForPreTraining(ComicSeqConfig(**sizes, **widths)).save_pretrained(tmp_path / "model")
    evaluate(
        tmp_path,
        tmp_path / "data",
        "--repeats",
        "1",
        "--protocol",
        "same_book",
        "--output_dir",
        str(tmp_path / "out"),
        names=("model",),
    )
    assert "No cosine for caption_relevance: captions are 4 wide and panels 8." in capsys.readouterr().err
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    counts = {r["task"]: r["num_questions"] for r in found["results"] if r["protocol"] in ("same_book", "")}
    several = int((source.mask.sum(1) > 1).sum())
    assert counts.pop("caption_relevance") == 16
    assert set(counts.values()) == {several} and len(counts) == 6
    assert {r["num_questions"] for r in found["retrieval"]} == {16, several}


def test_tasks_are_listed_with_commas_too():
    words = ["--model", "m", "--dataset", "d", "--tasks", "panel_picking,text_closure", "reading_order"]
    assert parse_arguments(words).tasks == ["panel_picking", "text_closure", "reading_order"]
