"""Questions about pages: the same answers as of the vectors that the panel encoder makes of them, and what is refused."""

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pictures
from transformers import pipeline

from modeling_comicseq import ComicPageModel
from modeling_comicseq.model.pictures_comicpage import crop
from modeling_comicseq.model.reading_comicpage import CHUNK
from tests.model.test_pipeline_comicseq import TASKS, assert_same_answers
from tests.model_inputs import build
from tests.page_inputs import (
    BOXES,
    TEXTS,
    draw_page,
    draw_picture,
    page,
    panel_model,
    panel_processor,
    save_page_model,
    sequence_config,
)

EMBED, PICK, CLOZE, ORDER, CAPTION, CLOSE = (
    f"comic-{name}"
    for name in (
        "strip-embedding",
        "panel-picking",
        "text-cloze",
        "reading-order",
        "caption-relevance",
        "visual-closure",
    )
)
WORDS = [" ".join(each) if isinstance(each, list) else each for each in TEXTS]
CANDIDATES = [
    {"image": draw_picture(90), "text": "the cat sleeps"},
    draw_picture(91),
    {"text": "no dog"},
    {"image": draw_picture(92)},
]
CANDIDATE_TEXTS = ["here is the dog", "no", "where ?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page_model")
    save_page_model(folder)
    return folder


@pytest.fixture(scope="module")
def pipelines(folder):
    return {task: pipeline(task, model=str(folder)) for task in TASKS}


@pytest.fixture(scope="module")
def by_vectors(tmp_path_factory):
    """The pipelines of the sequence model alone."""
    folder = tmp_path_factory.mktemp("sequence_model")
    build("pretraining", sequence_config()).save_pretrained(folder)
    return {task: pipeline(task, model=str(folder)) for task in TASKS}


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """What the panel encoder alone makes of pictures and texts."""
    encoder, processor = panel_model(), panel_processor(tmp_path_factory.mktemp("processor"))

    def encode(images=None, texts=None, name="panel_embeddings"):
        inputs = processor(images=images, text=texts)
        with torch.no_grad():
            return encoder(**inputs)[name].numpy()

    return encode


def crops(seed: int = 0) -> list[Pictures.Image]:
    return [crop(draw_page(seed), box) for box in BOXES]


def question(task: str, seed: int = 0) -> dict:
    """A question about a page."""
    asked = page(seed)
    if task == CAPTION:
        return {"caption": "the cat is on the roof", "candidates": CANDIDATES}
    if task in (PICK, CLOZE):
        asked["mask_position"] = 1
    if task == CLOZE:
        asked["candidate_texts"] = CANDIDATE_TEXTS
    elif task not in (EMBED, ORDER):
        asked["candidates"] = CANDIDATES
    return asked


def vector_question(task: str, vectors, seed: int = 0) -> dict:
    """The same question about vectors, made by hand."""
    nothing = np.zeros(24, np.float32)
    candidates = np.stack(
        [
            vectors([CANDIDATES[0]["image"]], ["the cat sleeps"])[0],
            vectors([CANDIDATES[1]], [""])[0],
            vectors(None, ["no dog"])[0],
            vectors([CANDIDATES[3]["image"]], [""])[0],
        ]
    )
    if task == CAPTION:
        caption = vectors(None, ["the cat is on the roof"])[0]
        return {"caption_embeddings": caption, "candidate_embeddings": candidates}
    panels = vectors(crops(seed), WORDS)
    asked = {"panel_embeddings": panels, "panel_boxes": np.array(BOXES), "reading_direction": "ltr"}
    if task in (PICK, CLOZE):
        panels[1] = nothing
        asked["mask_position"] = 1
    if task == CLOZE:
        texts = vectors(crops(seed), WORDS, "text_embeddings")
        texts[1] = nothing
        visual = vectors(crops(seed)[1:2], [""], "visual_embeddings")[0]
        asked |= {"text_embeddings": texts, "visual_embedding": visual}
        asked["candidate_text_embeddings"] = vectors(None, CANDIDATE_TEXTS)
    elif task not in (EMBED, ORDER):
        asked["candidate_embeddings"] = candidates
    return asked


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_those_of_the_encoders_vectors(task, pipelines, by_vectors, vectors):
    """One by one, in batches, and of vectors beside pages."""
    expected = by_vectors[task]([vector_question(task, vectors, seed) for seed in range(3)])
    asked = [question(task, seed) for seed in range(3)]
    assert_same_answers([pipelines[task](asked[0])], expected[:1])
    for batch_size in (1, 2, 3):
        assert_same_answers(pipelines[task](asked, batch_size=batch_size), expected)
    mixed = [asked[0], vector_question(task, vectors, 1), asked[2]]
    assert_same_answers(pipelines[task](mixed, batch_size=3), expected)


def test_separate_streams_are_read_side_by_side(tmp_path, vectors):
    """The panel without words, and the candidate without a picture, are one half; the model's own forward reads the same."""
    model = save_page_model(tmp_path, streams="separate", panel_embedding_dim=48)
    sequence = build("pretraining", sequence_config(streams="separate", panel_embedding_dim=48))
    sequence.save_pretrained(tmp_path / "sequence")

    def wide(images, texts):
        of_images = vectors(images, [""] * len(images), "visual_embeddings")
        return np.concatenate((of_images, vectors(None, texts, "text_embeddings")), axis=-1)

    panels = wide(crops(), WORDS)
    assert not panels[2, 24:].any() and panels[:, :24].any(1).all()
    words_alone = np.concatenate(
        (np.zeros((1, 24), np.float32), vectors(None, ["no dog"], "text_embeddings")), axis=-1
    )
    candidates = np.concatenate((wide([draw_picture(90)], ["the cat sleeps"]), words_alone))
    by_hand = {"panel_embeddings": panels, "panel_boxes": np.array(BOXES), "candidate_embeddings": candidates}
    asked = page() | {"candidates": [CANDIDATES[0], CANDIDATES[2]], "mask_position": 1}
    expected = pipeline(PICK, model=str(tmp_path / "sequence"))(by_hand | {"mask_position": 1})
    assert_same_answers([pipeline(PICK, model=str(tmp_path))(asked)], [expected])

    inputs = panel_processor(tmp_path)(images=crops(), text=WORDS)
    with torch.no_grad():
        outputs = model(**inputs, panel_boxes=torch.tensor([BOXES]))
        strip = sequence.comicseq(torch.from_numpy(panels)[None], panel_boxes=torch.tensor([BOXES])).pooler_output
    torch.testing.assert_close(outputs.panel_embeddings, torch.from_numpy(panels))
    torch.testing.assert_close(outputs.strip_embedding, strip)


@pytest.mark.parametrize("modality", ["visual", "text"])
def test_closure_of_one_modality(modality, pipelines, by_vectors, vectors):
    task = f"comic-{modality}-closure"
    candidates = [{"image": draw_picture(seed), "text": text} for seed, text in enumerate(CANDIDATE_TEXTS)]
    asked = page() | {"candidates": candidates}
    name = f"{modality}_embeddings"
    by_hand = {
        "panel_embeddings": vectors(crops(), WORDS, name),
        "candidate_embeddings": vectors([each["image"] for each in candidates], CANDIDATE_TEXTS, name),
        "panel_boxes": np.array(BOXES),
    }
    answer = pipelines[task](asked, modality=modality)
    assert_same_answers([answer], [by_vectors[task](by_hand, modality=modality)])
    with pytest.raises(ValueError, match=f"`candidates` 1 has no {'picture' if modality == 'visual' else 'text'}"):
        other = {"text": "no"} if modality == "visual" else draw_picture(1)
        pipelines[task](page() | {"candidates": [candidates[0], other]}, modality=modality)


def test_pages_are_named_in_several_ways(pipelines, tmp_path):
    """A path, a PIL image, an undecoded one, boxes as an array; texts as strings or lists of them."""
    embed, asked = pipelines[EMBED], page()
    asked["image"].save(tmp_path / "page.png")
    expected = [embed(asked)]
    for change in (
        {"image": str(tmp_path / "page.png")},
        {"image": tmp_path / "page.png"},
        {"image": {"bytes": (tmp_path / "page.png").read_bytes(), "path": None}},
        {"boxes": np.array(BOXES)},
        {"boxes": torch.tensor(BOXES)},
        {"texts": WORDS},
        {"texts": [[WORDS[0]], ["here", None, "on the roof"], None, (WORDS[3],)]},
        {"reading_direction": None},
    ):
        assert_same_answers([embed(asked | change)], expected)
    alone = embed(asked["image"])
    for each in (tmp_path / "page.png", str(tmp_path / "page.png"), {"image": asked["image"]}):
        assert_same_answers([embed(each)], [alone])
    assert_same_answers(embed([asked["image"], str(tmp_path / "page.png")], batch_size=2), [alone, alone])


def test_a_picture_alone_finds_its_panels(pipelines):
    """They stand in the order of an X-Y cut, and answers say where they are."""
    found = pipelines[EMBED](draw_page(), return_panels=True)
    assert np.allclose(found["panel_boxes"], BOXES, atol=0.01)
    assert (found["boxes_origin"], found["order_origin"]) == ("gutter cut", "XY-cut")
    assert found["contextualized_panels"].shape == (4, 32)
    given = {"image": draw_page(), "boxes": found["panel_boxes"]}
    again = pipelines[EMBED](given, return_panels=True)
    assert "panel_boxes" not in again
    assert np.allclose(again["strip_embedding"], found["strip_embedding"], atol=1e-6)
    mirrored = pipelines[EMBED]({"image": draw_page(), "reading_direction": "rtl"}, return_panels=True)
    assert np.allclose(mirrored["panel_boxes"], [BOXES[each] for each in (0, 2, 1, 3)], atol=0.01)
    asked = {"image": draw_page(), "mask_position": 2, "candidates": CANDIDATES}
    answer = pipelines[PICK](asked)
    assert np.allclose(answer["panel_boxes"], BOXES, atol=0.01)
    given = pipelines[PICK](asked | {"boxes": answer["panel_boxes"]})
    assert np.allclose(answer["scores"], given["scores"], atol=1e-6)
    order = pipelines[ORDER](draw_page())
    assert sorted(order["order"]) == [0, 1, 2, 3] and len(order["panel_boxes"]) == 4
    blank = pipelines[EMBED](Pictures.new("RGB", (200, 300), "white"), return_panels=True)
    assert blank["panel_boxes"] == [[0.0, 0.0, 1.0, 1.0]], "a page without gutters is one panel"


def test_a_page_without_a_picture(pipelines, by_vectors, vectors):
    """Texts alone are a page, and boxes alone have an order."""
    by_hand = {"panel_embeddings": vectors(None, WORDS[:2]), "panel_boxes": np.array(BOXES[:2])}
    expected = by_vectors[EMBED](by_hand)
    assert_same_answers([pipelines[EMBED]({"texts": TEXTS[:2], "boxes": BOXES[:2]})], [expected])
    assert pipelines[EMBED]({"texts": TEXTS[:2]}).shape == (32,)
    boxes = {"boxes": BOXES, "reading_direction": "rtl"}
    by_hand = {"panel_boxes": np.array(BOXES), "reading_direction": "rtl"}
    assert_same_answers([pipelines[ORDER](boxes)], [by_vectors[ORDER](by_hand)])


def test_an_unknown_box_leaves_the_text(pipelines, by_vectors, vectors):
    boxes = np.array(BOXES)
    boxes[1] = 0
    panels = vectors(crops(), WORDS)
    panels[1] = vectors(None, WORDS[1:2])[0]
    expected = by_vectors[EMBED]({"panel_embeddings": panels, "panel_boxes": boxes})
    assert_same_answers([pipelines[EMBED](page() | {"boxes": boxes})], [expected])


def test_texts_are_read_as_a_store_holds_them(pipelines):
    """Without outer blanks, empty ones and halves of characters, which tokenizers do not take."""
    reader = pipelines[EMBED].reader
    given = [[" Where", "", " is the cat? \n", None], "  ", "Here \ud83d!", " no "]
    taken = reader.take(page() | {"texts": given}, pipelines[EMBED].fields)
    _, panels = taken.wanted["panel_embeddings"]
    assert [panel.text for panel in panels] == ["Where is the cat?", "", "Here ?!", "no"]
    pipelines[EMBED](page() | {"texts": given})
    asked = question(CAPTION)
    assert pipelines[CAPTION](asked | {"caption": f" {asked['caption']}\n"}) == pipelines[CAPTION](asked)


@pytest.mark.parametrize("task", [PICK, CLOZE])
def test_the_masked_panel_is_unread(task, pipelines):
    """Its text never; its picture in text-cloze alone, and there without the text."""
    asked = question(task)
    expected = pipelines[task](asked)
    other = asked | {"texts": [TEXTS[0], "no dog runs", *TEXTS[2:]]}
    assert pipelines[task](other) == expected
    painted = draw_page()
    x0, y0, x1, y1 = (
        round(value * side) for value, side in zip(BOXES[1], (*painted.size, *painted.size), strict=True)
    )
    painted.paste((255, 0, 0), (x0, y0, x1, y1))
    answer = pipelines[task](asked | {"image": painted})
    assert (answer == expected) == (task == PICK)


def test_order_does_not_know_in_which_order_the_panels_came(pipelines):
    turn = [2, 0, 3, 1]
    asked = question(ORDER)
    shuffled = asked | {"boxes": [BOXES[each] for each in turn], "texts": [TEXTS[each] for each in turn]}
    found = [turn[each] for each in pipelines[ORDER](shuffled)["order"]]
    assert found == pipelines[ORDER](asked)["order"]


def test_every_panel_is_encoded_once_and_some_at_a_time(folder):
    """However many questions are asked of a page, and in bounded chunks."""
    pick = pipeline(PICK, model=str(folder))
    seen = []
    pick.model.panel_encoder.vision_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    asked = [page() | {"mask_position": slot, "candidates": CANDIDATES} for slot in range(4)]
    pick(asked, batch_size=4)
    assert seen == [4 + 3], "four panels and three pictures of candidates"
    seen.clear()
    pick([{**page(seed), "mask_position": 0, "candidates": CANDIDATES} for seed in range(12)], batch_size=12)
    assert sum(seen) == 12 * 3 + 3 and max(seen) <= CHUNK


def test_a_data_set_of_pages(pipelines):
    """Its columns are those of a page, whatever else it has."""
    features = {"book_id": Value("string"), "image": Image(), "boxes": List(List(Value("float32"), length=4))}
    features |= {"texts": List(List(Value("string"))), "reading_direction": Value("string")}
    texts = [[each] if isinstance(each, str) else each for each in TEXTS]
    rows = [{**page(seed), "texts": texts, "book_id": "book"} for seed in range(2)]
    dataset = Dataset.from_list(rows, features=Features(features))
    answers = list(pipelines[EMBED](dataset, batch_size=2))
    assert_same_answers(answers, [pipelines[EMBED](page(seed)) for seed in range(2)])
    columns = {"panel_embeddings": List(Value("float32")), "texts": List(Value("string"))}
    converted = Dataset.from_list([{"panel_embeddings": [0.5] * 72, "texts": ["a", "b", "c"]}], Features(columns))
    assert list(pipelines[EMBED](converted))[0].shape == (32,), "vectors, whatever is carried along"


@pytest.mark.parametrize("name", ["encoder", "panel_picking"])
def test_a_checkpoint_of_one_class_serves_its_tasks(name, tmp_path):
    save_page_model(tmp_path, name)
    task, other = (EMBED, PICK) if name == "encoder" else (PICK, EMBED)
    answer = pipeline(task, model=str(tmp_path))(question(task))
    assert len(answer) == (32 if name == "encoder" else 3)
    with pytest.raises(ValueError, match="has no trained head for"):
        pipeline(other, model=str(tmp_path))


@pytest.mark.parametrize("reads", ["pictures", "texts"])
def test_an_encoder_of_one_half(reads, tmp_path):
    """It takes the page as it is, and refuses what it cannot read."""
    encoder = panel_model(reads_pictures=reads == "pictures", reads_texts=reads == "texts")
    ComicPageModel.from_parts(encoder, build("pretraining", sequence_config())).save_pretrained(tmp_path)
    panel_processor(tmp_path, reads_texts=reads == "texts").save_pretrained(tmp_path)
    embed, cloze = (pipeline(task, model=str(tmp_path)) for task in (EMBED, CLOZE))
    if reads == "pictures":
        assert np.array_equal(embed(page()), embed({**page(), "texts": ["no"] * 4}))
        with pytest.raises(ValueError, match="asks for text vectors but the panel encoder has no text model"):
            cloze(question(CLOZE))
    else:
        with pytest.raises(ValueError, match="The encoder reads nothing of panel 2"):
            embed(page())
        full = {**page(), "texts": ["no"] * 4}
        assert np.array_equal(embed(full), embed({**full, "image": draw_page(7)}))
        assert "index" in cloze(question(CLOZE) | {"texts": ["no", "yes", "the", "a"]})


def test_vectors_need_no_processor(tmp_path):
    model = save_page_model(tmp_path)
    (tmp_path / "processor_config.json").unlink()
    embed = pipeline(EMBED, model=str(tmp_path))
    assert embed(np.ones((3, 24), np.float32)).shape == (32,)
    with pytest.raises(ValueError, match="The processor, .* is not in .*: save it into the checkpoint"):
        embed(page())
    assert model.config.sequence_class == "ComicSeqForPreTraining"
    given = pipeline(EMBED, model=str(tmp_path), processor=panel_processor(tmp_path))
    assert given(page()).shape == (32,)


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        (EMBED, {"image": None, "texts": None}, "`image` is missing"),
        (EMBED, {"image": "nowhere.png"}, "`image` cannot be read from 'nowhere.png'"),
        (EMBED, {"image": 3}, "`image` is of type int; give a PIL image"),
        (EMBED, {"image": Pictures.new("RGB", (300, 8))}, "`image` has only 300 × 8 pixels"),
        (EMBED, {"boxes": None}, "`boxes` is missing: without it, nothing tells which `texts`"),
        (EMBED, {"boxes": [[0, 0, 1, 2]] * 4}, "`boxes`: box 0 .* is outside the page"),
        (EMBED, {"boxes": [[0, 0, 1]] * 4}, "`boxes` has the shape"),
        (EMBED, {"boxes": BOXES[:3]}, "`texts` has 4 panels but `boxes` has 3"),
        (EMBED, {"boxes": [BOXES[0]] * 13, "texts": None}, "The page has 13 panels but 1 to 12 can be read"),
        (EMBED, {"boxes": None, "image": None, "texts": []}, "The page has 0 panels"),
        (EMBED, {"texts": "where"}, "`texts` is of type str but must be a list"),
        (EMBED, {"texts": [1, 2, 3, 4]}, "`texts` 0 must be a string, or a list of strings"),
        (EMBED, {"boxes": np.zeros((4, 4))}, "The encoder reads nothing of panel 2"),
        (EMBED, {"reading_direction": "up"}, "`reading_direction` is 'up' but must be ltr or rtl"),
        (EMBED, {"candidates": CANDIDATES}, "A question about pages does not take `candidates`"),
        (EMBED, {"picture": 1}, "does not take `picture`"),
        (EMBED, {"panel_embeddings": np.ones((4, 24))}, "`panel_embeddings` is given beside `image`"),
        (PICK, {"candidates": None}, "`candidates` is missing"),
        (PICK, {"candidates": []}, "`candidates` is empty"),
        (PICK, {"candidates": ["a.png"]}, "`candidates` 0 is of type str but must be a picture, or a dictionary"),
        (PICK, {"candidates": [{"text": " "}]}, "`candidates` 0 has no picture or text"),
        (PICK, {"candidates": [{"image": "no.png"}]}, "The picture of `candidates` 0 cannot be read from"),
        (PICK, {"candidates": [{"picture": 1}]}, "`candidates` 0 does not take `picture`"),
        (PICK, {"mask_position": 4}, "`mask_position` must be a whole number from 0 to below 4"),
        (PICK, {"mask_position": True}, "`mask_position` must be a whole number"),
        (PICK, {"mask_position": None}, "`mask_position` must be a whole number"),
        (CLOZE, {"candidate_texts": [1]}, "`candidate_texts` 0 must be a string"),
        (CLOZE, {"candidate_texts": "no"}, "`candidate_texts` is of type str"),
        (CAPTION, {"caption": " "}, "`caption` must be words"),
        (CAPTION, {"caption": 3}, "`caption` must be words"),
        (CAPTION, {"image": draw_picture(1)}, "does not take `image`"),
        (CLOSE, {"mask_position": 1}, "does not take `mask_position`"),
    ],
)
def test_what_is_refused(task, change, message, pipelines):
    with pytest.raises(ValueError, match=message):
        pipelines[task](question(task) | change)
    with pytest.raises(ValueError, match=f"Input 1: .*{message}"):
        pipelines[task]([question(task), question(task) | change], batch_size=2)


def test_a_model_of_vectors_says_what_takes_pages(by_vectors):
    for asked in (page(), draw_page(), "page.png"):
        with pytest.raises(ValueError, match="reads vectors.*page model"):
            by_vectors[EMBED](asked)
