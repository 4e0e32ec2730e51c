"""Page models that read words: the reader's scores are added in training, in pipelines and without the package."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch.testing import assert_close
from transformers import AutoModel, pipeline

from modeling_comicseq import (
    ComicPageConfig,
    ComicPageForPreTraining,
    ComicPageModel,
    ComicSeqForPreTraining,
    ComicSeqForTextCloze,
    ComicSeqModel,
)
from tests.model.test_page_pretraining import TEXTS, questions
from tests.model.test_remote_code import run_without_package
from tests.model_inputs import build
from tests.page_inputs import draw_picture, page, panel_model, panel_processor, sequence_config

CANDIDATES = ["here is the dog", "no", "where is the cat ?"]


def reading_model(model_class=ComicPageForPreTraining, name="pretraining", **fields):
    torch.manual_seed(0)
    sequence = build(name, sequence_config(masked_panel_weight=0.5))
    fields = {"text_reading": "tokens", "text_reading_layers": 1} | fields
    model = model_class.from_parts(panel_model(), sequence, **fields).eval()
    if model.text_reader is not None:
        torch.manual_seed(1)
        torch.nn.init.normal_(model.text_reader.score.weight)  # of a size that shows
    return model


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    return panel_processor(tmp_path_factory.mktemp("processor"))


@pytest.fixture(scope="module")
def contents(processor):
    tokens = processor.tokenize(TEXTS)
    halves = [{name: each[part] for name, each in tokens.items()} for part in (slice(1), slice(1, None))]
    return {"pixel_values": [torch.zeros(5, 3, 32, 32)], "texts": halves}


def read(model, processor, context, candidates):
    """The reader's scores of one question, from its words: texts and how far they stand from the asked panel."""
    tokens = processor.tokenize([*(text for text, _ in context), *candidates])
    _, states = model.read_words(**tokens)
    index = torch.arange(len(states))[None]
    offsets = torch.tensor([[offset for _, offset in context]])
    mask = tokens["attention_mask"]
    return model.text_reader(states, mask, index[:, : len(context)], offsets, index[:, len(context) :])[0]


def test_questions_are_read_in_one_order_in_all_processes():
    """Else the same draws of dropout would fall to other words after a resume."""
    assert [name for name, _ in reading_model().reading_questions({"text_closure": {}, "text_cloze": {}})] == [
        "text_cloze",
        "text_closure",
    ]


@torch.no_grad()
def test_scores_of_text_tasks_have_those_of_the_reader_added(contents, processor):
    model = reading_model()
    asked = questions()
    text = torch.tensor([[[6], [0], [7]], [[8], [9], [0]]])
    asked["text_closure"] = {
        "panel_embeddings": text,
        "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        "candidate_embeddings": torch.tensor([[[9], [6]], [[7], [0]]]),
        "candidate_mask": torch.tensor([[1, 1], [1, 0]]),
        "modality": "text",
    }
    found = model(contents=contents, **asked).task_logits
    reader, model.text_reader = model.text_reader, None
    plain = model(contents=contents, **asked).task_logits
    model.text_reader = reader
    first, here, dog, no = TEXTS
    added = {
        "panel_picking": torch.zeros(2, 2),
        "text_cloze": torch.stack(
            (
                read(model, processor, [(first, -1), (here, 1)], [no, first]),
                read(model, processor, [(no, 1)], [here, dog]),
            )
        ),
        "text_closure": torch.stack(
            (
                read(model, processor, [(first, -3), (here, -1)], [no, first]),
                torch.cat((read(model, processor, [(dog, -2), (no, -1)], [here]), torch.zeros(1))),
            )
        ),
    }
    for task, scores in added.items():
        assert_close(found[task], plain[task] + scores, rtol=1e-4, atol=1e-5, msg=task)
    assert (found["text_cloze"] - plain["text_cloze"]).abs().min() > 1e-3


def test_gradients_reach_the_reader_and_through_it_the_encoder(contents):
    model = reading_model().train()
    model.panel_encoder.text_projection.requires_grad_(False)
    model(contents=contents, **{"text_cloze": questions()["text_cloze"]}).loss.backward()
    for name, weight in model.text_reader.named_parameters():
        assert "key.bias" in name or weight.grad.any(), name
    assert model.panel_encoder.text_model.embeddings.word_embeddings.weight.grad.any()


@pytest.mark.parametrize("task", ["comic-text-cloze", "comic-text-closure"])
def test_pipelines_answer_with_the_words(task, processor):
    model, plain = reading_model(ComicPageModel), reading_model(ComicPageModel, text_reading="vectors")
    shown = page()
    texts = [" ".join(each) if isinstance(each, list) else each for each in shown["texts"]]
    if task == "comic-text-cloze":
        question = shown | {"mask_position": 1, "candidate_texts": CANDIDATES}
        context = [(text, place - 1) for place, text in enumerate(texts) if text and place != 1]
    else:
        question = shown | {"candidates": [{"text": text} for text in CANDIDATES]}
        context = [(text, place - 4) for place, text in enumerate(texts) if text]
    fewer = {name: each[:2] if name.startswith("candidate") else each for name, each in question.items()}
    ask = pipeline(task, model=model, processor=processor)
    answers = ask([question, fewer], batch_size=2)
    before = pipeline(task, model=plain, processor=processor)(question)
    with torch.no_grad():
        scores = read(model, processor, context, CANDIDATES)
    expected = (torch.tensor(before["scores"]).log() + scores).softmax(-1)
    assert_close(torch.tensor(answers[0]["scores"]), expected, rtol=1e-4, atol=1e-5)
    assert_close(torch.tensor(answers[1]["scores"]), expected[:2] / expected[:2].sum(), rtol=1e-4, atol=1e-5)


def test_pictures_without_words_are_answered_as_by_vectors(processor):
    model, plain = reading_model(ComicPageModel), reading_model(ComicPageModel, text_reading="vectors")
    wordless = {name: each for name, each in page().items() if name != "texts"}
    question = wordless | {"candidates": [draw_picture(7), draw_picture(8)]}
    other = page() | {"candidates": [{"text": "here"}, draw_picture(8)]}
    answers, expected = (
        pipeline("comic-text-closure", model=each, processor=processor)([question, other], batch_size=2)
        for each in (model, plain)
    )
    assert_close(torch.tensor(answers[0]["scores"]), torch.tensor(expected[0]["scores"]))
    assert answers[1]["scores"] != expected[1]["scores"]


@pytest.mark.slow
def test_a_checkpoint_reads_words_without_the_package(tmp_path, processor):
    model = reading_model(ComicPageModel)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name
    question = {"texts": ["where is the cat ?", "", "no"], "mask_position": 1, "candidate_texts": CANDIDATES}
    expected = pipeline("comic-text-cloze", model=model, processor=processor)(question)["scores"]
    found = pipeline("comic-text-cloze", model=str(tmp_path))(question)["scores"]
    assert_close(torch.tensor(found), torch.tensor(expected))  # the weights lie elsewhere in memory
    script = f"""
    from transformers import pipeline
    ask = pipeline("comic-text-cloze", model=folder, trust_remote_code=True)
    scores = ask({question!r})["scores"]
    assert max(abs(a - b) for a, b in zip(scores, {expected!r}, strict=True)) < 1e-5, scores
    import sys; sys.path.insert(0, folder)
    from handler import EndpointHandler
    answer = EndpointHandler(folder)({{"inputs": {question!r}, "parameters": {{"task": "comic-text-cloze"}}}})
    assert max(abs(a - b) for a, b in zip(answer["scores"], {expected!r}, strict=True)) < 1e-5, answer
    """
    run_without_package(script, tmp_path)


@pytest.mark.parametrize("part", [ComicSeqModel, ComicSeqForPreTraining, ComicSeqForTextCloze])
def test_a_part_takes_its_weights_and_warns_of_no_others(tmp_path, part):
    reading_model().save_pretrained(tmp_path)
    _, found = part.from_pretrained(tmp_path, output_loading_info=True)
    assert not found["unexpected_keys"] and not found["missing_keys"]


def test_what_is_set_wrongly_is_said():
    def check(text_reading, **halves):
        config = panel_model(**halves).config
        parts = {"panel_config": config, "sequence_config": sequence_config()}
        ComicPageConfig(**parts, text_reading=text_reading).validate_architecture()

    with pytest.raises(StrictDataclassError, match="has no text model"):
        check("tokens", reads_texts=False)
    with pytest.raises(StrictDataclassError, match="`text_reading` is 'words' but must be one of vectors, tokens"):
        check("words")
