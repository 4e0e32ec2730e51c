"""A panel encoder and a sequence model in one: the same numbers as one after the other, saved, loaded and trained."""

import json

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoConfig, AutoModel, AutoProcessor

from modeling_comicseq import ComicPageConfig, ComicPageModel, ComicPanelProcessor, ComicSeqConfig, ComicSeqModel
from modeling_comicseq.model.modeling_comicpage import take_rows
from tests.model.test_remote_code import run_without_package
from tests.model_inputs import CLASSES, build, draw_boxes
from tests.page_inputs import (
    draw_picture,
    page_model,
    panel_model,
    panel_processor,
    save_page_model,
    sequence_config,
)

INDEX = torch.tensor([[0, 1, 2, 3], [4, 0, -1, -1]])  # panel 0 stands on both pages
CLOSE = {"rtol": 1e-6, "atol": 1e-7}


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    return panel_processor(tmp_path_factory.mktemp("processor"))


@pytest.fixture(scope="module")
def inputs(processor):
    texts = ["where is the cat ?", "", "here", "the dog sleeps", "no"]
    return dict(processor(images=[draw_picture(seed) for seed in range(5)], text=texts))


def one_after_the_other(panels, sequence, inputs, index=INDEX, **kwargs):
    """What the two parts give without the page model."""
    vectors = panels(**inputs).panel_embeddings
    given = torch.where((index >= 0)[..., None], vectors[index.clamp(min=0)], 0.0)
    return vectors, sequence(given, attention_mask=(index >= 0).long(), **kwargs)


@pytest.mark.parametrize("name", ["pretraining", "encoder", "panel_picking"])
@torch.no_grad()
def test_equal_to_the_parts_one_after_the_other(name, inputs):
    boxes = draw_boxes(2, 4)
    model = page_model(name)
    outputs = model(**inputs, panel_index=INDEX, panel_boxes=boxes)
    vectors, expected = one_after_the_other(
        panel_model(), build(name, sequence_config()).base_model, inputs, panel_boxes=boxes
    )
    assert_close(outputs.panel_embeddings, vectors, **CLOSE)
    assert_close(outputs.contextualized_panels, expected.last_hidden_state, **CLOSE)
    if name == "panel_picking":
        assert outputs.strip_embedding is None
    else:
        assert_close(outputs.strip_embedding, expected.pooler_output, **CLOSE)
    assert outputs.visual_embeddings.shape == outputs.text_embeddings.shape == (5, 24)
    assert not outputs.text_embeddings[1].any(), "an empty text"


@torch.no_grad()
def test_all_rows_are_one_page_by_default(inputs):
    model = page_model("encoder")
    whole = model(**inputs)
    assert_close(whole.last_hidden_state, model(**inputs, panel_index=torch.arange(5)[None]).last_hidden_state)
    assert whole.last_hidden_state.shape == (1, 5, 32)


def test_each_panel_is_encoded_once(inputs):
    model, seen = page_model("encoder"), []
    model.panel_encoder.vision_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    with torch.no_grad():
        model(**inputs, panel_index=torch.tensor([[0, 1, 2, 3, 4]] * 6))
    assert seen == [5]


@torch.no_grad()
def test_questions_are_asked_with_rows_of_the_panel_vectors(inputs):
    model, sequence = page_model(), build("pretraining", sequence_config())
    found = model.get_panel_vectors(**inputs)
    question = {
        "panel_embeddings": take_rows(found.panel_embeddings, INDEX),
        "attention_mask": (INDEX >= 0).long(),
        "mask_position": torch.tensor([1, 0]),
        "candidate_embeddings": take_rows(found.panel_embeddings, torch.tensor([[1, 4], [0, 2]])),
    }
    logits = model.sequence_model(panel_picking=question).task_logits["panel_picking"]
    assert_close(logits, sequence(panel_picking=question).task_logits["panel_picking"])


def test_gradients_reach_both_encoders(inputs):
    model = page_model()
    found = model.get_panel_vectors(**inputs)
    question = {
        "panel_embeddings": take_rows(found.panel_embeddings, INDEX),
        "attention_mask": (INDEX >= 0).long(),
        "candidate_embeddings": take_rows(found.panel_embeddings, torch.tensor([[1, 4], [0, 2]])),
        "labels": torch.tensor([0, 1]),
    }
    model.train()
    model.sequence_model(visual_closure=question).loss.backward()
    for part in (model.panel_encoder.vision_model, model.panel_encoder.text_model, model.sequence_model.comicseq):
        assert any(parameter.grad is not None and parameter.grad.any() for parameter in part.parameters())


def test_padding_gets_no_gradient_and_is_not_read():
    vectors = torch.tensor([[1.0, 2.0], [float("nan"), 3.0]], requires_grad=True)
    rows = take_rows(vectors, torch.tensor([[0, -1]]))
    assert rows.tolist() == [[[1.0, 2.0], [0.0, 0.0]]]
    rows.sum().backward()
    assert vectors.grad.tolist() == [[1.0, 1.0], [0.0, 0.0]]


def test_widths_must_agree():
    with pytest.raises(ValueError, match="makes vectors of 16 numbers .* reads panel vectors of 24"):
        ComicPageModel.from_parts(panel_model(width=16), build("encoder", sequence_config()))
    with pytest.raises(ValueError, match="reads text vectors of 20"):
        ComicPageModel.from_parts(panel_model(), build("encoder", sequence_config(text_embedding_dim=20)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"panel_index": torch.tensor([[0, 5]])}, "`panel_index` must be from -1 to below 5"),
        ({"panel_index": torch.tensor([[0.0, 1.0]])}, "`panel_index` is of torch.float32"),
        ({"panel_index": torch.tensor([0, 1])}, "`panel_index` has the shape"),
        ({"panel_index": [[0, 1]]}, "`panel_index` is of type list"),
        ({"panel_index": torch.full((1, 13), 0)}, "`max_position_embeddings` is 12"),
        ({"panel_index": torch.tensor([[-1, -1]])}, "at least one real panel"),
        ({"pixel_values": None, "input_ids": None}, "lacks `pixel_values`, `input_ids` or both"),
        ({"panel_embeddings": torch.zeros(1, 2, 24)}, "does not take `panel_embeddings`"),
    ],
)
def test_wrong_inputs(change, message, inputs):
    with pytest.raises(ValueError, match=message):
        page_model("encoder")(**{**inputs, **change})


def test_configuration_is_whole(tmp_path):
    config = page_model("panel_picking").config
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is ComicPageConfig
    assert loaded.to_dict() | {"_name_or_path": ""} == config.to_dict()
    assert loaded.sequence_class == "ComicSeqForPanelPicking" and loaded.panel_config.projection_dim == 24
    assert type(loaded.sequence_config) is ComicSeqConfig
    assert ComicPageConfig().sequence_class == "ComicSeqForPreTraining"
    assert "pillow" in (tmp_path / "requirements.txt").read_text()


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    build("encoder").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="a checkpoint of the type 'comicseq', not a page model"):
        ComicPageModel.from_pretrained(tmp_path)
    config = sequence_config()
    config.architectures = ["BertModel"]
    with pytest.raises(ValueError, match="of the class 'BertModel' but must be one of ComicSeqForPreTraining"):
        ComicPageModel(ComicPageConfig(panel_config=panel_model().config, sequence_config=config))


def test_the_sequence_model_is_loaded_from_a_page_checkpoint(tmp_path):
    """By any class, and saved again it is a checkpoint of vectors."""
    model = save_page_model(tmp_path / "page")
    weights = model.sequence_model.state_dict()
    for name in ("pretraining", "encoder", "text_cloze"):
        loaded, report = CLASSES[name].from_pretrained(tmp_path / "page", output_loading_info=True)
        assert not any(report.values())
        prefix = "comicseq." if name == "encoder" else ""
        assert all(torch.equal(value, weights[prefix + key]) for key, value in loaded.state_dict().items())
    loaded.save_pretrained(tmp_path / "again")
    assert (
        CLASSES["text_cloze"].from_pretrained(tmp_path / "again", output_loading_info=True)[1]["missing_keys"] == set()
    )
    assert "sequence_config" not in json.loads((tmp_path / "again" / "config.json").read_text())
    assert type(AutoModel.from_pretrained(tmp_path / "again")) is ComicSeqModel


@torch.no_grad()
def test_saved_and_loaded_with_the_package(tmp_path, inputs):
    model = save_page_model(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    assert type(loaded) is ComicPageModel and type(AutoProcessor.from_pretrained(tmp_path)) is ComicPanelProcessor
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for part in (model, loaded):
        part._apply(torch.clone)
    outputs, expected = (each(**inputs, panel_index=INDEX).to_tuple() for each in (loaded, model))
    for one, other in zip(outputs, expected, strict=True):
        assert_close(one, other, **CLOSE)
    half = ComicPageModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}


@pytest.mark.slow
@torch.no_grad()
def test_saved_and_loaded_without_the_package(tmp_path, inputs):
    """In an interpreter that cannot import it: model, processor, and what is saved there again."""
    model = save_page_model(tmp_path / "page")
    pictures = [draw_picture(seed) for seed in range(5)]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    run_without_package(
        """
        from PIL import Image
        from transformers import AutoProcessor
        processor = AutoProcessor.from_pretrained(f"{folder}/page", trust_remote_code=True)
        model = AutoModel.from_pretrained(f"{folder}/page", trust_remote_code=True).eval()
        assert type(model).__module__.startswith("transformers_modules."), type(model)
        texts = ["where is the cat ?", "", "here", "the dog sleeps", "no"]
        inputs = processor(images=[Image.open(f"{folder}/{number}.png") for number in range(5)], text=texts)
        with torch.no_grad():
            outputs = model(**inputs, panel_index=torch.tensor([[0, 1, 2, 3], [4, 0, -1, -1]]))
        names = ("last_hidden_state", "pooler_output", "panel_embeddings", "visual_embeddings", "text_embeddings")
        torch.save({name: outputs[name] for name in names}, f"{folder}/outputs.pt")
        model.save_pretrained(f"{folder}/again")
        processor.save_pretrained(f"{folder}/again")
        """,
        tmp_path,
    )
    found = torch.load(tmp_path / "outputs.pt")
    expected = model(**inputs, panel_index=INDEX)
    for name, value in found.items():
        assert_close(value, expected[name], **CLOSE)
    vectors, direct = one_after_the_other(panel_model(), build("pretraining", sequence_config()).comicseq, inputs)
    assert_close(found["pooler_output"], direct.pooler_output, **CLOSE)
    again = AutoModel.from_pretrained(tmp_path / "again").eval()
    assert_close(again(**inputs, panel_index=INDEX).pooler_output, expected.pooler_output, **CLOSE)
    names = {path.name for path in (tmp_path / "page").iterdir()} - {"vocab.txt"}
    assert {path.name for path in (tmp_path / "again").iterdir()} == names
    assert names >= {"handler.py", "reading_comicpage.py", "requests_comicpage.py", "gutters_comicpage.py"}
