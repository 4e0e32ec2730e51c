"""The page model in training: rows become vectors, and gradients go through them to the pictures and texts."""

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModel

from modeling_comicseq import ComicPageForPreTraining, ComicPageModel, ComicSeqForPreTraining
from modeling_comicseq.encoders.panel_encoder import load_panel_encoder
from tests.model_inputs import build
from tests.page_inputs import draw_picture, panel_model, panel_processor, sequence_config
from tests.tiny_encoders import panel_config as config_of_tiny

PICTURES, TEXTS = 5, ["where is the cat ?", "here", "the dog sleeps", "no"]


def pretraining_model(**changes) -> ComicPageForPreTraining:
    width = panel_model().config.projection_dim
    if changes.get("streams") == "separate":
        changes |= {"panel_embedding_dim": 2 * width, "text_embedding_dim": width, "visual_embedding_dim": width}
    sequence = build("pretraining", sequence_config(masked_panel_weight=0.5, **changes))
    return ComicPageForPreTraining.from_parts(panel_model(), sequence)


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    processor = panel_processor(tmp_path_factory.mktemp("processor"))
    tokens = processor.tokenize(TEXTS)
    pixels = processor.prepare_images([draw_picture(seed) for seed in range(PICTURES)])
    halves = [{name: each[part] for name, each in tokens.items()} for part in (slice(2), slice(2, None))]
    return {"pixel_values": [pixels[:3], pixels[3:]], "texts": halves}


def questions() -> dict:
    """A question of two tasks, two strips and a masked page, about pictures 1 to 5 and texts 6 to 9."""
    page = torch.tensor([[[1, 6], [2, 0], [3, 7]], [[4, 8], [0, 9], [0, 0]]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    asked = {"attention_mask": mask, "mask_position": torch.tensor([1, 0]), "labels": torch.tensor([0, 1])}
    picked = {"panel_embeddings": page, "candidate_embeddings": page[:, [1, 0]]}
    cloze = {"panel_embeddings": page, "text_embeddings": page[..., 1:], "visual_embedding": page[[0, 1], [1, 0], :1]}
    cloze["candidate_text_embeddings"] = torch.tensor([[[9], [6]], [[7], [8]]])
    masked = {"panel_embeddings": page[:1], "masked_panels": torch.tensor([[False, True, True]])}
    masked |= {"target_embeddings": page[0, 1:], "labels": torch.tensor([1, 2])}
    strips = {"panel_embeddings": page[[0, 0]][:, :2], "labels": torch.tensor([0, 1])}
    return {"panel_picking": asked | picked, "text_cloze": asked | cloze, "masked_panels": masked, **strips}


def with_vectors(inputs: dict, vectors: torch.Tensor, has_streams: bool) -> dict:
    """The reference: vector by vector."""
    found = {}
    for name, value in inputs.items():
        if isinstance(value, dict):
            found[name] = with_vectors(value, vectors, has_streams)
        elif name.endswith(("_embedding", "_embeddings")):
            each = [[vectors[row] for row in rows] for rows in value.flatten(0, -2).tolist()]
            made = [torch.cat(rows) if has_streams else sum(rows) for rows in each]
            found[name] = torch.stack(made).reshape(*value.shape[:-1], -1)
        else:
            found[name] = value
    return found


@pytest.mark.parametrize("streams", ["fused", "separate"])
@torch.no_grad()
def test_answers_are_those_of_the_parts_one_after_the_other(contents, streams):
    model = pretraining_model(streams=streams).eval()
    encoder = model.panel_encoder
    pictures = encoder.get_image_features(torch.cat(contents["pixel_values"]))
    texts = [encoder.get_text_features(**each) for each in contents["texts"]]
    vectors = torch.cat([torch.zeros(1, encoder.config.projection_dim), pictures, *texts])
    expected = model.sequence_model(**with_vectors(questions(), vectors, streams == "separate"))
    found = model(contents=contents, **questions())
    assert_close(found.loss, expected.loss)
    for task, logits in expected.task_logits.items():
        assert_close(found.task_logits[task], logits)
    features = {
        "image_features": encoder.read_images(torch.cat(contents["pixel_values"])),
        "text_features": torch.cat([encoder.read_texts(**each) for each in contents["texts"]]),
    }
    assert_close(model(contents=features, **questions()).loss, expected.loss)


def test_gradients_are_those_of_finite_differences(contents):
    """Through both encoders, their projections, the sum, the sequence model and the heads, in double precision."""
    model = pretraining_model().double().train()
    doubled = {
        "pixel_values": [each.double() for each in contents["pixel_values"]],
        "texts": contents["texts"],
    }

    def loss() -> torch.Tensor:
        return model(contents=doubled, **questions()).loss

    loss().backward()
    weights = dict(model.named_parameters())
    parts = ["panel_encoder.vision_model.", "panel_encoder.visual_projection", "panel_encoder.text_model.embeddings"]
    parts += ["panel_encoder.text_model.encoder", "panel_encoder.text_projection", "sequence_model.comicseq.layers"]
    parts += ["sequence_model.panel_picking_head", "sequence_model.text_cloze_head"]
    generator, step = torch.Generator().manual_seed(0), 1e-5
    for part in parts:
        chosen = [weight for name, weight in weights.items() if name.startswith(part) and weight.grad is not None]
        directions = [torch.randn(weight.shape, generator=generator, dtype=torch.float64) for weight in chosen]
        slope = sum((weight.grad * each).sum() for weight, each in zip(chosen, directions, strict=True))
        values = []
        for sign in (1, -2):  # to one side, and from there to the other
            with torch.no_grad():
                for weight, each in zip(chosen, directions, strict=True):
                    weight += sign * step * each
                values.append(loss())
        with torch.no_grad():
            for weight, each in zip(chosen, directions, strict=True):
                weight += step * each
        assert slope.abs() > 1e-6, part
        assert_close((values[0] - values[1]) / (2 * step), slope, rtol=1e-5, atol=1e-8, msg=part)


def test_what_is_frozen_stays_in_evaluation_mode_and_statistics_never_move():
    from modeling_comicseq import ComicPanelModel, EfficientNetLiteModel
    from modeling_comicseq.model.configuration_efficientnet_lite import EfficientNetLiteConfig

    network = EfficientNetLiteModel(EfficientNetLiteConfig())
    fields = config_of_tiny(text_config=None, projection_dim=24).to_dict()
    fields |= {"vision_config": network.config, "vision_feature_dim": 1280, "vision_pooling": "pooler"}
    panels = ComicPanelModel(type(config_of_tiny())(**fields), vision_model=network)
    model = ComicPageForPreTraining.from_parts(panels, build("pretraining", sequence_config()))
    network.requires_grad_(False)
    network.blocks[-1].requires_grad_(True)
    model.train()
    assert model.sequence_model.training and network.blocks[-1].training and not network.blocks[0].training
    before = {name: each.clone() for name, each in network.named_buffers()}
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    model.encode_contents([pixels]).sum().backward()
    assert all(torch.equal(each, before[name]) for name, each in network.named_buffers())
    assert network.blocks[-1].depthwise.convolution.weight.grad is not None
    assert network.blocks[0].depthwise.convolution.weight.grad is None


def test_a_checkpoint_is_that_of_a_page_model_of_an_encoder_and_of_a_sequence_model(tmp_path):
    model = pretraining_model()
    model.save_pretrained(tmp_path)
    panel_processor(tmp_path).save_pretrained(tmp_path)
    weights = model.state_dict()
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is ComicPageModel
    assert all(torch.equal(weights[name], each) for name, each in loaded.state_dict().items())
    encoder = load_panel_encoder(str(tmp_path), device="cpu").model
    assert all(torch.equal(weights[f"panel_encoder.{name}"], each) for name, each in encoder.state_dict().items())
    sequence = ComicSeqForPreTraining.from_pretrained(tmp_path)
    assert all(torch.equal(weights[f"sequence_model.{name}"], each) for name, each in sequence.state_dict().items())
    again = ComicPageForPreTraining.from_pretrained(tmp_path)
    assert all(torch.equal(weights[name], each) for name, each in again.state_dict().items())
