"""The pipelines beside direct calls of the model: every kind of input, batches, and what they refuse."""

import functools
import re

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from torch.testing import assert_close
from torch.utils.data import IterableDataset
from transformers import AutoModelForMultipleChoice, pipeline
from transformers.pipelines.pt_utils import KeyDataset

from modeling_comicseq import ComicSeqForPreTraining
from modeling_comicseq.model.modeling_comicseq import register_task
from tests.model.test_tasks_comicseq import ComicSeqForLastPage, unregister_last_page
from tests.model_inputs import CLASSES, build, example, tiny_config

TASKS = {
    "comic-strip-embedding": "encoder",
    "comic-panel-picking": "panel_picking",
    "comic-character-coherence": "character_coherence",
    "comic-visual-closure": "visual_closure",
    "comic-text-closure": "text_closure",
    "comic-caption-relevance": "caption_relevance",
    "comic-text-cloze": "text_cloze",
    "comic-reading-order": "reading_order",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in ("pretraining", "panel_picking", "encoder"):
        build(name).save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def pipelines(folder):
    return {task: pipeline(task, model=str(folder / "pretraining")) for task in TASKS}


def questions(name: str) -> list[dict[str, np.ndarray]]:
    """The rows of the example of a class, each with its real panels and candidates only."""
    inputs = example(name)
    masks = {"attention_mask": ("panel_embeddings", "text_embeddings"), "candidate_mask": ("candidate_",)}
    rows = []
    for row in range(3):
        question = {}
        for field, values in inputs.items():
            if field in ("labels", *masks):
                continue
            question[field] = values[row]
            for mask, fields in masks.items():
                if mask in inputs and field.startswith(fields):
                    question[field] = values[row][inputs[mask][row] == 1]
            question[field] = question[field].numpy() if question[field].ndim else int(question[field])
        rows.append(question)
    return rows


def direct(name: str, model) -> torch.Tensor:
    inputs = {field: value for field, value in example(name).items() if field != "labels"}
    with torch.no_grad():
        outputs = model(**inputs)
    return outputs.pooler_output if name == "encoder" else outputs.logits


def assert_same_answers(actual, expected) -> None:
    """The same choices and orders, and numbers as equal as float32 is over batches of other shapes."""
    for each, other in zip(actual, expected, strict=True):
        if isinstance(each, np.ndarray):
            assert_close(torch.from_numpy(each).float(), torch.from_numpy(other).float())
        elif "order" in each:
            assert each["order"] == other["order"]
            assert_close(torch.tensor(each["score"]), torch.tensor(other["score"]))
        else:
            assert each["index"] == other["index"] and each["score"] == max(each["scores"])
            assert_close(torch.tensor(each["scores"]), torch.tensor(other["scores"]))


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_the_models(task, folder, pipelines):
    """One by one and in batches that mix lengths and numbers of candidates."""
    name = TASKS[task]
    model = CLASSES[name].from_pretrained(folder / "pretraining").eval()
    logits, asked = direct(name, model), questions(name)
    for batch_size in (1, 2, 3):
        answers = pipelines[task](asked, batch_size=batch_size)
        for answer, row, question in zip(answers, logits, asked, strict=True):
            if name == "encoder":
                assert answer.dtype == np.float32
                assert_close(torch.from_numpy(answer), row)
            elif name == "reading_order":
                count = len(question["panel_embeddings"])
                panels = torch.from_numpy(question["panel_embeddings"])[None]
                order = torch.tensor(answer["order"])
                assert torch.equal(order, model.predict_order(panels)[0])
                expected = row[:count, :count].sigmoid()[order[:-1], order[1:]].mean()
                assert_close(torch.tensor(answer["score"]), expected)
            else:
                count = len(question.get("candidate_embeddings", question.get("candidate_text_embeddings")))
                scores = torch.tensor(answer["scores"])
                row = row[:count].sigmoid() if name == "character_coherence" else row[:count].softmax(0)
                assert_close(scores, row)
                assert answer["index"] == int(scores.argmax()) and answer["score"] == float(scores.max())


@pytest.mark.parametrize("task", TASKS)
def test_every_kind_of_input(task, pipelines):
    """Nested lists, float64 and float16 arrays, tensors, lists of tensors, rows as a converted data set has them."""
    asked = questions(TASKS[task])[1]
    half = {name: value if isinstance(value, int) else value.astype(np.float16) for name, value in asked.items()}
    expected = [pipelines[task](half)]

    def convert(change):
        return {name: value if isinstance(value, int) else change(value) for name, value in half.items()}

    for change in (
        np.ndarray.tolist,
        lambda value: value.astype(np.float64),
        lambda value: value.astype(">f4"),
        torch.from_numpy,
        lambda value: list(torch.from_numpy(value)) if value.ndim == 2 else torch.from_numpy(value),
        lambda value: value.reshape(-1).tolist(),
    ):
        assert_same_answers([pipelines[task](convert(change))], expected)
        assert_same_answers(pipelines[task]([convert(change)]), expected)
    first = next(iter(half))
    asked = {**half, first: torch.from_numpy(half[first]).requires_grad_()}
    assert_same_answers([pipelines[task](asked)], expected)


def test_pages_need_no_dictionary(pipelines):
    pages = [question["panel_embeddings"] for question in questions("encoder")]
    embed = pipelines["comic-strip-embedding"]
    expected = embed([{"panel_embeddings": page} for page in pages])
    assert_same_answers(embed(pages, batch_size=2), expected)
    assert_same_answers([embed(pages[0])], expected[:1])
    assert_same_answers([embed({"panel_embeddings": pages[0].tolist()})], expected[:1])
    assert_same_answers(embed([pages[0].tolist(), list(pages[1])]), expected[:2])
    assert_same_answers(embed(np.stack([pages[0], pages[0]])), [expected[0], expected[0]])
    assert_same_answers(list(embed((page for page in pages), batch_size=2)), expected)
    rows = Dataset.from_dict({"panel_embeddings": [page.reshape(-1).tolist() for page in pages]})
    assert_same_answers(list(embed(KeyDataset(rows, "panel_embeddings"), batch_size=2)), expected)
    assert embed([]) == embed(KeyDataset(rows.select([]), "panel_embeddings")) == []
    panels = embed(pages[1], return_panels=True)
    assert panels["contextualized_panels"].shape == (len(pages[1]), 32)
    assert_same_answers([panels["strip_embedding"]], expected[1:2])


WORKERS_WARNING = "Inputs that can only be read one after the other are read by one worker."


class Pages(IterableDataset):
    """Pages that know how many they are, but can only be read one after the other."""

    def __init__(self, pages):
        self.pages = pages

    def __len__(self):
        return len(self.pages)

    def __iter__(self):
        return iter(self.pages)


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_workers_give_each_answer_once(num_workers, pipelines, caplog):
    embed = pipelines["comic-strip-embedding"]
    pages = [np.random.default_rng(row).normal(size=(1 + row % 3, 24)).astype(np.float32) for row in range(4)]
    expected = [embed(page) for page in pages]
    rows = Dataset.from_dict(
        {"panel_embeddings": [page.reshape(-1).tolist() for page in pages], "book_id": list("abcd")}
    )
    streamed = {
        "a generator": (page for page in pages),
        "an iterator": map(np.asarray, pages),
        "an iterable dataset": Pages(pages),
        "a streamed data set": rows.to_iterable_dataset(),
        "a streamed column": rows.to_iterable_dataset()["panel_embeddings"],
    }
    for what, inputs in streamed.items():
        caplog.clear()
        answers = list(embed(inputs, num_workers=num_workers, batch_size=3))
        assert len(answers) == 4, what
        assert_same_answers(answers, expected)
        assert [each.message for each in caplog.records] == [WORKERS_WARNING] * (num_workers > 1)
    for inputs in (pages, rows, KeyDataset(rows, "panel_embeddings")):
        assert_same_answers(list(embed(inputs, num_workers=num_workers, batch_size=3)), expected)


def test_answers_know_how_many_they_are_and_can_be_read_again(pipelines):
    """As those of the other pipelines of transformers, whose iterator an override had lost."""
    embed = pipelines["comic-strip-embedding"]
    pages = [question["panel_embeddings"] for question in questions("encoder")]
    rows = Dataset.from_dict({"panel_embeddings": [page.reshape(-1).tolist() for page in pages]})
    answers = embed(rows, batch_size=2)
    assert len(answers) == 3
    first = next(answers)
    assert_same_answers([first], embed(pages[:1]))
    for _ in range(2):
        assert_same_answers(list(answers), embed(pages))


@pytest.mark.parametrize("form", [None, "numpy", "torch"])
@pytest.mark.parametrize("counts", [(3, 1, 2, 1), (2, 2, 2, 2), (1, 1, 1, 1)])
def test_rows_of_a_converted_data_set(form, counts, pipelines):
    """Each row is a page, whatever the number of its panels: four pages of one panel are no page of four."""
    embed, order = pipelines["comic-strip-embedding"], pipelines["comic-reading-order"]
    pages = [
        np.random.default_rng(row).normal(size=(count, 24)).astype(np.float32) for row, count in enumerate(counts)
    ]
    columns = {"panel_embeddings": [page.reshape(-1).tolist() for page in pages], "book_id": list("abcd")}
    rows = Dataset.from_dict(columns).with_format(form)
    expected, orders = [embed(page) for page in pages], [order(page) for page in pages]
    assert_same_answers([embed(rows[0]["panel_embeddings"])], expected[:1])
    assert_same_answers([embed(rows["panel_embeddings"][0])], expected[:1])
    for inputs in (
        rows,
        rows["panel_embeddings"],
        rows.to_iterable_dataset(),
        (row["panel_embeddings"] for row in rows),
    ):
        answers = list(embed(inputs, batch_size=3))
        assert len(answers) == 4
        assert_same_answers(answers, expected)
    assert_same_answers(list(order(rows)), orders)
    assert_same_answers(order(rows["panel_embeddings"]), orders)
    batch = rows[:4]["panel_embeddings"]
    if counts != (1, 1, 1, 1):
        assert_same_answers(embed(batch), expected)
    elif form is None:  # arrays of one panel each lie on each other as the panels of a page do
        with pytest.raises(
            ValueError, match=r"a list of 4 vectors of 24 numbers, which is one page, or one panel of each"
        ):
            embed(batch)


@pytest.mark.parametrize("change", [np.ndarray.tolist, list, tuple, lambda page: list(torch.from_numpy(page))])
def test_a_page_that_can_also_be_pages_of_one_panel_is_refused(change, pipelines):
    page = questions("encoder")[0]["panel_embeddings"]
    embed = pipelines["comic-strip-embedding"]
    with pytest.raises(
        ValueError, match="`inputs` is a list of 5 vectors of 24 numbers, .* give one page as an array"
    ):
        embed(change(page))
    assert_same_answers([embed({"panel_embeddings": change(page)}), *embed([change(page)])], [embed(page)] * 2)


def test_a_data_set_of_questions(pipelines):
    asked = questions("panel_picking")
    picking = pipelines["comic-panel-picking"]
    columns = {name: [question[name] for question in asked] for name in asked[0]}
    columns = {
        name: [value if isinstance(value, int) else value.reshape(-1).tolist() for value in values]
        for name, values in columns.items()
    }
    rows = Dataset.from_dict({**columns, "book_id": list("abc")})
    assert_same_answers(list(picking(rows, batch_size=2)), picking(asked))
    assert_same_answers(list(picking(rows.to_iterable_dataset())), picking(asked))
    with pytest.raises(ValueError, match="Input 0: `mask_position` must be"):
        next(picking(rows.remove_columns("mask_position")))
    with pytest.raises(ValueError, match="Input 0: `panel_embeddings` is missing"):
        next(picking(rows.select_columns("book_id")))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_faulty_one_of_many_inputs_is_named(num_workers, pipelines):
    """In one sentence, also where a worker process found it."""
    pages = [np.ones((2, 24)) for _ in range(5)]
    pages[3][1, 7] = np.nan
    with pytest.raises(ValueError) as raised:
        pipelines["comic-strip-embedding"](pages, batch_size=2, num_workers=num_workers)
    assert str(raised.value) == "Input 3: `panel_embeddings` holds NaN, infinity or a number outside float32."


def test_splits_are_asked_one_by_one(pipelines):
    splits = DatasetDict({"test": Dataset.from_dict({"panel_embeddings": [[0.5] * 24]})})
    with pytest.raises(ValueError, match=r"several splits \(test\): give one"):
        pipelines["comic-strip-embedding"](splits)


def test_an_answer_that_is_not_finite_is_none():
    for name, task in (("encoder", "comic-strip-embedding"), ("reading_order", "comic-reading-order")):
        model = build(name)
        sound = pipeline(task, model=model)
        with torch.no_grad():
            model.base_model.layernorm.weight[0] = torch.nan
        with pytest.raises(ValueError, match="not finite: the model's weights are not|hold NaN or infinity, so"):
            sound(np.ones((3, 24)))
        with pytest.raises(ValueError, match="layernorm.weight` of the model holds NaN or infinity"):
            pipeline(task, model=model)
    half = pipeline("comic-strip-embedding", model=build("encoder", tiny_config(input_scale=1.0)).half())
    with pytest.raises(ValueError, match="too large for its precision, torch.float16"):
        half(np.full((3, 24), 1e38))


def test_coherence_with_and_without_a_position_in_one_batch(folder, pipelines):
    """Every candidate is judged alone; on a page that fills every position, candidates have none."""
    rng = np.random.default_rng(0)
    asked = questions("character_coherence")
    asked[1]["candidate_position"] = 1
    asked.append({"panel_embeddings": rng.normal(size=(12, 24)), "candidate_embeddings": rng.normal(size=(1, 24))})
    coherence = pipelines["comic-character-coherence"]
    answers = coherence(asked, batch_size=4)
    assert_same_answers(answers, [coherence(each) for each in asked])
    model = CLASSES["character_coherence"].from_pretrained(folder / "pretraining").eval()
    for question, answer, position in zip(asked, answers, (5, 1, 3, -1), strict=True):
        tensors = {name: torch.tensor(value)[None] for name, value in question.items()}
        tensors = {name: value.float() if value.ndim == 3 else value for name, value in tensors.items()}
        with torch.no_grad():
            scores = model(**(tensors | {"candidate_position": torch.tensor([position])})).logits[0].sigmoid()
        assert_close(torch.tensor(answer["scores"]), scores)


def test_a_task_from_outside_has_a_pipeline(tmp_path):
    register_task(ComicSeqForLastPage)
    try:
        model = build("pretraining", tiny_config(task_weights={"last_page": 1.0}))
        model.save_pretrained(tmp_path / "all")
        ComicSeqForLastPage.from_pretrained(tmp_path / "all").save_pretrained(tmp_path / "alone")
        asked = {"panel_embeddings": torch.randn(4, 24), "candidate_embeddings": torch.randn(3, 24)}
        with torch.no_grad():
            batch = {name: value[None] for name, value in asked.items()}
            expected = model(last_page=batch).task_logits["last_page"][0].softmax(0)
        for source in (str(tmp_path / "all"), str(tmp_path / "alone"), model):
            answer = pipeline("comic-last-page", model=source)(asked)
            assert_close(torch.tensor(answer["scores"]), expected)
        assert type(AutoModelForMultipleChoice.from_pretrained(tmp_path / "alone")) is ComicSeqForLastPage
    finally:
        unregister_last_page()


def test_text_cloze_with_and_without_pictures_in_one_batch(pipelines):
    asked = questions("text_cloze")
    del asked[1]["visual_embedding"]
    cloze = pipelines["comic-text-cloze"]
    assert_same_answers(cloze(asked, batch_size=3), [cloze(each) for each in asked])


@pytest.mark.parametrize(("task", "modality", "width"), [("visual", "visual", 16), ("text", "text", 20)])
def test_closure_on_one_modality(task, modality, width, folder, pipelines):
    rng = np.random.default_rng(0)
    pages = [
        {"panel_embeddings": rng.normal(size=(count, width)), "candidate_embeddings": rng.normal(size=(3, width))}
        for count in (2, 4)
    ]
    answers = pipelines[f"comic-{task}-closure"](pages, batch_size=2, modality=modality)
    model = CLASSES[f"{task}_closure"].from_pretrained(folder / "pretraining").eval()
    for page, answer in zip(pages, answers, strict=True):
        tensors = {name: torch.from_numpy(value).float()[None] for name, value in page.items()}
        with torch.no_grad():
            expected = model(**tensors, modality=modality).logits.softmax(-1)[0]
        assert_close(torch.tensor(answer["scores"]), expected)


@pytest.mark.parametrize("target", ["adjacency", "precedence"])
def test_confidence_of_an_order(target):
    """The mean of the probabilities of the order's statements, written out pair by pair."""
    from modeling_comicseq.model.pipeline_comicseq import order_confidence

    scores, order = torch.randn(5, 5), [3, 0, 4, 1, 2]
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5) if target == "precedence" or j == i + 1]
    expected = np.mean([1 / (1 + np.exp(-float(scores[order[i], order[j]]))) for i, j in pairs])
    assert_close(order_confidence(scores, torch.tensor(order), target), expected, rtol=1.3e-6, atol=1e-5)
    assert order_confidence(torch.zeros(1, 1), torch.tensor([0]), target) == 1.0
    sure = torch.full((5, 5), -50.0)
    for i, j in pairs:
        sure[order[i], order[j]] = 50.0
    assert order_confidence(sure, torch.tensor(order), target) == pytest.approx(1.0)
    assert order_confidence(sure, torch.tensor(order[::-1]), target) == pytest.approx(0.0)


def test_shuffled_pages_get_the_same_order(pipelines):
    page, shuffle = questions("reading_order")[0]["panel_embeddings"], [4, 2, 0, 1, 3]
    first, second = pipelines["comic-reading-order"]([page, page[shuffle]], batch_size=2)
    assert [shuffle[place] for place in second["order"]] == first["order"]
    assert_close(torch.tensor(second["score"]), torch.tensor(first["score"]))


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        (
            "comic-strip-embedding",
            {"panel_embeddings": np.ones((13, 24))},
            "13 panels but `max_position_embeddings` is 12",
        ),
        ("comic-visual-closure", {"panel_embeddings": np.ones((12, 24))}, "leaves none of the 12 positions"),
        ("comic-panel-picking", {"panel_embeddings": np.ones((3, 23))}, r"shape \(3, 23\) but \(any, 24\)"),
        ("comic-panel-picking", {"panel_embeddings": [[1.0] * 24, [1.0]]}, "must be numbers"),
        ("comic-panel-picking", {"panel_embeddings": [["a"] * 24]}, "must be numbers"),
        ("comic-panel-picking", {"panel_embeddings": np.zeros((0, 24))}, r"shape \(0, 24\)"),
        (
            "comic-panel-picking",
            {"candidate_embeddings": np.full((2, 24), np.nan)},
            "`candidate_embeddings` holds NaN",
        ),
        ("comic-panel-picking", {"candidate_embeddings": np.full((2, 24), 1e300)}, "outside float32"),
        ("comic-panel-picking", {"candidate_embeddings": None}, "`candidate_embeddings` is missing"),
        ("comic-panel-picking", {"mask_position": -1}, "`mask_position` must be a whole number from 0 to below 5"),
        ("comic-panel-picking", {"mask_position": True}, "`mask_position` must be"),
        ("comic-panel-picking", {"mask_position": 1.0}, "`mask_position` must be"),
        ("comic-panel-picking", {"labels": 1}, "comic-panel-picking does not take `labels`"),
        ("comic-text-cloze", {"text_embeddings": np.ones((2, 20))}, "2 vectors but the page has 5 panels"),
        ("comic-text-cloze", {"visual_embedding": np.ones((2, 16))}, "must be one"),
        (
            "comic-caption-relevance",
            {"caption_embeddings": np.ones((2, 28))},
            "`caption_embeddings` has 2 vectors but",
        ),
        ("comic-caption-relevance", {"caption_embeddings": np.ones(24)}, r"shape \(24,\) but \(any, 28\)"),
        ("comic-caption-relevance", {"caption_embeddings": None}, "`caption_embeddings` is missing"),
        ("comic-caption-relevance", {"panel_embeddings": np.ones((2, 24))}, "does not take `panel_embeddings`"),
        ("comic-character-coherence", {"candidate_position": 12}, "a whole number from -1 to below 12"),
        ("comic-character-coherence", {"candidate_position": 0.5}, "`candidate_position` must be a whole number"),
        ("comic-character-coherence", {"candidate_embeddings": None}, "`candidate_embeddings` is missing"),
    ],
)
def test_wrong_questions_are_refused_in_one_sentence(task, changes, message, pipelines):
    with pytest.raises(ValueError, match=message):
        pipelines[task]({**questions(TASKS[task])[0], **changes})


BAD = {
    "nothing": (None, "is missing"),
    "a list with nothing": ([None], "Input 0: "),
    "a truth value": (True, "must be numbers"),
    "truth values": (np.ones((2, 24), dtype=bool), "must be numbers"),
    "a list of truth values": ([[True] * 24] * 2, "must be numbers|one page, or one panel of each"),
    "a number": (3.5, r"shape \(\)"),
    "a word": ("page", "reads vectors: pictures and texts are for a page model"),
    "words": (["page", "page"], "reads vectors: pictures and texts are for a page model"),
    "vectors of words": ([["a"] * 24] * 2, "must be numbers"),
    "no field": ({}, "is missing"),
    "an unknown field": ({"panles": np.ones((2, 24))}, "does not take `panles` but .*"),
    "a field that is no word": ({1: 2}, "does not take `1` but"),
    "no panels": (np.zeros((0, 24)), r"shape \(0, 24\): at least one vector"),
    "an empty list in a list": ([[]], r"Input 0: .* at least one vector"),
    "panels of no width": (np.ones((2, 0)), "at least one vector of 24 numbers"),
    "another width": (np.ones((2, 25)), r"shape \(2, 25\) but \(any, 24\)"),
    "several widths": ([[1.0] * 24, [1.0]], r"Input 1: .*shape \(1,\)|Input 0"),
    "an axis too many": (np.ones((1, 2, 3, 24)), r"shape \(1, 2, 3, 24\)"),
    "NaN": (np.full((2, 24), np.nan), "holds NaN, infinity"),
    "masked numbers": (np.ma.masked_all((2, 24)), "holds NaN"),
    "an infinite number": (np.full((2, 24), np.inf), "holds NaN, infinity"),
    "beyond float32": (np.full((2, 24), 1e300), "a number outside float32"),
    "beyond any float": ([[10**400] * 24], "must be numbers|one page, or one panel of each"),
    "100,000 panels": (np.ones((100_000, 24)), "100000 panels but `max_position_embeddings` is 12"),
    "complex numbers": (np.ones((2, 24), dtype=complex), "must be numbers"),
    "dates": (np.zeros((2, 24), dtype="M8[D]"), "must be numbers"),
    "objects": (np.full((2, 24), object()), "must be numbers"),
    "a set in a field": ({"panel_embeddings": {1.0}}, "must be numbers"),
    "lists in each other": (functools.reduce(lambda inner, _: [inner], range(3000), 1.0), "must be numbers"),
    "a tensor without values": (torch.ones(2, 24, device="meta"), "must be numbers"),
    "a sparse tensor": (torch.ones(2, 24).to_sparse(), "must be numbers"),
    "a message": ([{"role": "user", "content": "hi"}], "must be numbers|is missing"),
    "a function": (len, "must be numbers"),
}


@pytest.mark.parametrize("task", TASKS)
def test_whatever_is_no_input_is_refused_in_one_sentence(task, pipelines):
    for what, (value, message) in BAD.items():
        with pytest.raises(ValueError) as raised:
            answers = pipelines[task](value)
            raise AssertionError(f"{what} got {answers}")
        told = str(raised.value)
        assert "\n" not in told and len(told) < 300 and "`" in told, (what, told)
        if task == "comic-caption-relevance":
            message += "|does not take `panel_embeddings` but candidate_embeddings, caption_embeddings"
        assert re.search(message, told), (what, told)


def test_wrong_settings_of_the_loader(pipelines):
    pages = [np.ones((2, 24))] * 2
    for settings in ({"batch_size": 0}, {"batch_size": "8"}, {"num_workers": -1}, {"num_workers": True}):
        name, value = next(iter(settings.items()))
        with pytest.raises(ValueError, match=f"`{name}` is {value!r} but must be a whole number of at least"):
            pipelines["comic-strip-embedding"](pages, **settings)
    with pytest.raises(ValueError, match="`return_panels` is 'yes' but must be True or False"):
        pipelines["comic-strip-embedding"](pages, return_panels="yes")


def test_wrong_parameters(pipelines):
    asked = questions("panel_picking")[0]
    with pytest.raises(ValueError, match="comic-panel-picking has no parameter `top_k`"):
        pipelines["comic-panel-picking"](asked, top_k=2)
    with pytest.raises(ValueError, match="comic-panel-picking has no parameter `modality`"):
        pipelines["comic-panel-picking"](asked, modality="visual")
    with pytest.raises(ValueError, match="`modality` of comic-visual-closure is 'text'"):
        pipelines["comic-visual-closure"](asked, modality="text")


def test_parameters_of_all_calls_are_given_at_the_start(folder):
    asked = {"panel_embeddings": np.ones((2, 16)), "candidate_embeddings": np.eye(16)[:3]}
    closure = pipeline("comic-visual-closure", model=str(folder / "pretraining"), modality="visual")
    expected = pipeline("comic-visual-closure", model=str(folder / "pretraining"))(asked, modality="visual")
    assert_same_answers([closure(asked)], [expected])
    with pytest.raises(ValueError, match="comic-panel-picking has no parameter `top_k`"):
        pipeline("comic-panel-picking", model=str(folder / "pretraining"), top_k=3)


def test_a_head_that_the_checkpoint_lacks_is_refused(folder):
    for name, task in (("panel_picking", "comic-text-closure"), ("encoder", "comic-reading-order")):
        with pytest.raises(ValueError, match=f"{CLASSES[name].__name__}, which has no trained head for {task}"):
            pipeline(task, model=str(folder / name))
    for model in (str(folder / "panel_picking"), build("panel_picking")):
        with pytest.raises(
            ValueError, match="no trained head for comic-strip-embedding: take one of ComicSeqModel or"
        ):
            pipeline("comic-strip-embedding", model=model)
    assert pipeline("comic-strip-embedding", model=str(folder / "encoder"))(np.ones((2, 24))).shape == (32,)


def test_a_saved_head_answers_as_the_model_in_memory(folder, tmp_path):
    model = build("panel_picking").train()
    in_memory = pipeline("comic-panel-picking", model=model)
    asked = questions("panel_picking")
    expected = in_memory(asked)
    assert not model.training
    assert_same_answers(pipeline("comic-panel-picking", model=str(folder / "panel_picking"))(asked), expected)
    in_memory.save_pretrained(tmp_path)
    assert_same_answers(pipeline("comic-panel-picking", model=str(tmp_path))(asked), expected)
    # The model has been saved, and its pipeline still asks for no trust.
    assert_same_answers(pipeline("comic-panel-picking", model=model)(asked), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_precision_of_the_model(dtype, folder):
    asked = questions("encoder")
    expected = pipeline("comic-strip-embedding", model=str(folder / "pretraining"))(asked)
    half = pipeline("comic-strip-embedding", model=str(folder / "pretraining"), dtype=dtype, device="cpu")
    assert half.model.dtype == dtype and half.device.type == "cpu"
    for vector, other in zip(half(asked, batch_size=3), expected, strict=True):
        assert vector.dtype == np.float32
        np.testing.assert_allclose(vector, other, atol=0.1)
    picking = pipeline("comic-panel-picking", model=str(folder / "pretraining"), dtype=dtype)
    assert sum(picking(questions("panel_picking")[0])["scores"]) == pytest.approx(1.0, abs=1e-3)


def test_pretraining_model_in_memory_serves_every_task():
    model = build("pretraining")
    assert type(model) is ComicSeqForPreTraining
    for task, name in TASKS.items():
        answers = pipeline(task, model=model)(questions(name), batch_size=2)
        assert len(answers) == 3
