"""The panel encoder as a model: what its vectors are, that it can be trained, and that a folder of it stands alone."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoProcessor,
    BertModel,
    CLIPConfig,
    CLIPModel,
    ConvNextConfig,
    ConvNextModel,
    PreTrainedModel,
    SiglipConfig,
    SiglipModel,
    T5Config,
    ViTForImageClassification,
    ViTModel,
)

from modeling_comicseq import ComicPanelConfig, ComicPanelModel, ComicPanelProcessor, EfficientNetLiteConfig
from modeling_comicseq.encoders.projection import PanelProjection

from ..closeness import assert_close
from ..tiny_encoders import (
    TINY,
    panel_config,
    panel_inputs,
    panel_model,
    picture,
    vision_config,
    write_text_model,
    write_vision_model,
)
from .test_modeling_efficientnet_lite import SMALL
from .test_remote_code import run_without_package

FIELDS = ("panel_embeddings", "visual_embeddings", "text_embeddings", "caption_embeddings")


def vectors(model, **inputs):
    with torch.no_grad():
        return model(**inputs)


def test_vectors_are_unit_features_projected_as_the_stores_are_and_summed():
    model, inputs = panel_model(), panel_inputs()
    outputs = vectors(model, **inputs)
    projection = PanelProjection(16, 8, 12)
    with torch.no_grad():
        pictures = model.vision_model(inputs["pixel_values"]).pooler_output
        states = model.text_model(inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
    pictures = nn.functional.normalize(pictures, dim=1).numpy()
    assert_close(outputs.visual_embeddings, projection.pictures(pictures))
    for row, length in ((0, 3), (2, 5)):
        text = nn.functional.normalize(states[row, :length].mean(0), dim=0).numpy()
        assert_close(outputs.text_embeddings[row], projection.texts(text))
    assert not outputs.text_embeddings[1].any()
    assert_close(outputs.panel_embeddings, outputs.visual_embeddings + outputs.text_embeddings)
    assert torch.equal(outputs.panel_embeddings[1], outputs.visual_embeddings[1])
    assert {name: tuple(outputs[name].shape) for name in FIELDS} == dict.fromkeys(FIELDS, (3, 12))
    captions = model.get_text_features(inputs["caption_input_ids"], inputs["caption_attention_mask"])
    assert torch.equal(outputs.caption_embeddings, captions.detach())


def test_new_projections_are_those_of_the_stores_to_the_bit():
    """The generator is seeded with the width, and draws the matrix of pictures first."""
    model = panel_model()
    drawn = np.random.default_rng(12)
    first, second = ((drawn.standard_normal((dim, 12)) / np.sqrt(12)).astype(np.float32) for dim in (16, 8))
    np.testing.assert_array_equal(model.visual_projection.weight.detach().numpy(), first.T)
    np.testing.assert_array_equal(model.text_projection.weight.detach().numpy(), second.T)
    # Without pictures, texts land where those of panels with pictures by EfficientNet-Lite0 do.
    texts = ComicPanelModel(panel_config(vision_config=None))
    drawn = np.random.default_rng(12)
    drawn.standard_normal((1280, 12))
    second = (drawn.standard_normal((8, 12)) / np.sqrt(12)).astype(np.float32)
    np.testing.assert_array_equal(texts.text_projection.weight.detach().numpy(), second.T)


def test_what_is_not_given_is_none_and_counts_nothing():
    model, inputs = panel_model(), panel_inputs()
    whole = vectors(model, **inputs)
    pictures = vectors(model, pixel_values=inputs["pixel_values"])
    assert pictures.text_embeddings is None and pictures.caption_embeddings is None
    assert torch.equal(pictures.panel_embeddings, whole.visual_embeddings)
    texts = vectors(model, input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    assert texts.visual_embeddings is None and torch.equal(texts.panel_embeddings, whole.text_embeddings)
    captions = vectors(model, caption_input_ids=inputs["caption_input_ids"])
    assert captions.panel_embeddings is None
    assert torch.equal(captions.caption_embeddings, whole.caption_embeddings)
    as_tuple = model(**inputs, return_dict=False)
    assert len(as_tuple) == 4 and torch.equal(as_tuple[0], whole.panel_embeddings)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Nothing is given"),
        ({"pixel_values": torch.zeros(3, 32, 32)}, r"`pixel_values` has the shape \(3, 32, 32\)"),
        ({"input_ids": torch.zeros(5, dtype=torch.long)}, r"`input_ids` and its mask have the shapes \(5,\)"),
        (
            {"pixel_values": torch.zeros(2, 3, 32, 32), "input_ids": torch.zeros(3, 4, dtype=torch.long)},
            "their numbers are `pixel_values` 2, `input_ids` 3",
        ),
    ],
)
def test_wrong_inputs_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        panel_model()(**inputs)


def test_a_model_of_one_half_says_what_it_does_not_read():
    inputs = panel_inputs()
    with pytest.raises(ValueError, match="reads no pictures: its configuration has no `vision_config`"):
        panel_model(vision_config=None)(pixel_values=inputs["pixel_values"])
    with pytest.raises(ValueError, match="reads no texts"):
        panel_model(text_config=None)(input_ids=inputs["input_ids"])
    with pytest.raises(ValueError, match="neither a `vision_config` nor a `text_config`"):
        ComicPanelModel(ComicPanelConfig())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"projection_dim": 0}, "`projection_dim` is 0 but must be at least 1"),
        ({"text_pooling": "sum"}, "`text_pooling` is 'sum' but must be one of mean, cls, max, lasttoken"),
        ({"vision_pooling": "max"}, "`vision_pooling` is 'max' but must be one of pooler, mean, cls"),
        ({"text_layers": [3]}, "hidden states, 0 to 2 or from behind -1"),
        ({"text_layers": []}, "at least one of the hidden states"),
    ],
)
def test_wrong_configurations_are_refused(fields, message):
    with pytest.raises(Exception, match=message):
        panel_config(**fields)


def test_hidden_states_of_several_layers_stand_side_by_side():
    model, inputs = panel_model(text_layers=[0, -1]), panel_inputs()
    ids, mask = inputs["caption_input_ids"], inputs["caption_attention_mask"]
    with torch.no_grad():
        states = model.text_model(ids, attention_mask=mask, output_hidden_states=True).hidden_states
        features = model.read_texts(ids, mask)
    parts = [nn.functional.normalize(states[layer].mean(1), dim=1) for layer in (0, 2)]
    assert_close(features, torch.cat(parts, 1) / 2**0.5)
    assert model.text_projection.in_features == 16


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_padding_changes_no_text(pooling):
    model, inputs = panel_model(text_pooling=pooling), panel_inputs()
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    alone = model.get_text_features(ids[:1, :3])
    padded = model.get_text_features(ids, mask)
    assert_close(padded[:1], alone)


def test_gradients_reach_all_that_is_read_and_are_right():
    """Against differences of the loss along a random direction, in double precision."""
    model, inputs = panel_model().double().train(), panel_inputs()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    inputs["pixel_values"] = inputs["pixel_values"].double()
    weights = torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(1), dtype=torch.double)

    def loss():
        outputs = model(**inputs)
        return (outputs.panel_embeddings * weights[0] + outputs.caption_embeddings * weights[1]).sum()

    loss().backward()
    parameters = dict(model.named_parameters())
    untouched = [name for name, each in parameters.items() if each.grad is None]
    assert not untouched
    for prefix in ("vision_model", "text_model", "visual_projection", "text_projection"):
        own = {name: each for name, each in parameters.items() if name.startswith(prefix)}
        directions = {name: torch.randn_like(each) for name, each in own.items()}
        slope = sum((each.grad * directions[name]).sum() for name, each in own.items()).item()
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                for name, each in own.items():
                    each += step * directions[name]
                values.append(loss().item())
                for name, each in own.items():
                    each -= step * directions[name]
        assert abs(slope) > 1e-3 and slope == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_a_panel_without_text_gives_no_gradient_that_is_no_number():
    model, inputs = panel_model().train(), panel_inputs()
    inputs["attention_mask"][:] = 0
    inputs["attention_mask"][0, 0] = 1
    model(**inputs).panel_embeddings.sum().backward()
    assert all(torch.isfinite(each.grad).all() for each in model.parameters() if each.grad is not None)


def test_training_is_saved_and_goes_on(tmp_path):
    model, inputs = panel_model(), panel_inputs()
    before = vectors(model, **inputs).panel_embeddings
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(**inputs).panel_embeddings.square().sum().backward()
    optimizer.step()
    trained = vectors(model, **inputs)
    assert (trained.panel_embeddings - before).abs().max() > 1e-3
    model.save_pretrained(tmp_path)
    assert {"visual_projection.weight", "text_projection.weight"} <= load_file(tmp_path / "model.safetensors").keys()
    loaded = ComicPanelModel.from_pretrained(tmp_path)
    for name in FIELDS:
        assert_close(vectors(loaded, **inputs)[name], trained[name])


def test_checkpoints_of_gradients_reach_both_halves():
    plain, checkpointed = panel_model().train(), panel_model().train()
    checkpointed.gradient_checkpointing_enable()
    assert any(getattr(module, "gradient_checkpointing", False) for module in checkpointed.vision_model.modules())
    assert any(getattr(module, "gradient_checkpointing", False) for module in checkpointed.text_model.modules())
    for model in (plain, checkpointed):
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        model(**panel_inputs()).panel_embeddings.square().sum().backward()
    for (_, each), (_, other) in zip(plain.named_parameters(), checkpointed.named_parameters(), strict=True):
        assert_close(other.grad, each.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_nearly_the_same_vectors(dtype, tmp_path):
    model, inputs = panel_model(), panel_inputs()
    model.save_pretrained(tmp_path)
    half = ComicPanelModel.from_pretrained(tmp_path, dtype=dtype)
    assert {each.dtype for each in half.parameters()} == {dtype}
    outputs = vectors(half, **inputs)
    assert outputs.panel_embeddings.dtype == dtype
    expected = vectors(model, **inputs)
    for name in FIELDS:
        cosine = nn.functional.cosine_similarity(outputs[name].float(), expected[name], dim=1)
        assert (cosine[expected[name].any(1)] > 0.99).all(), name


class Parent(PreTrainedModel):
    """A model that has a panel encoder inside, as one of pages does."""

    config: ComicPanelConfig
    base_model_prefix = "parent"

    def __init__(self, config):
        super().__init__(config)
        self.panel_encoder = ComicPanelModel(config)
        self.other = nn.Linear(12, 12)
        self.post_init()

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)


def test_inside_another_model_it_begins_as_alone():
    torch.manual_seed(2)
    inside, alone = Parent(panel_config()).panel_encoder, panel_model()
    for half in ("visual_projection", "text_projection"):
        assert torch.equal(getattr(inside, half).weight, getattr(alone, half).weight)
    assert inside.text_model.encoder.layer[0].output.dense.weight.any()  # none of the parent's zeros


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    write_vision_model(root / "vit")
    return {"vision": write_vision_model(root / "vit"), "text": write_text_model(root / "bert")}


def test_two_models_become_one(folders):
    model = ComicPanelModel.from_encoders_pretrained(str(folders["vision"]), str(folders["text"]), 12)
    assert (model.config.vision_encoder, model.config.text_encoder) == ("vit", "bert")
    assert str(folders["vision"].parent) not in json.dumps(model.config.to_dict())  # no path of this machine
    assert model.config.vision_config._attn_implementation == "sdpa" and not model.training
    vision = ViTModel.from_pretrained(folders["vision"]).eval()
    pixels = panel_inputs()["pixel_values"]
    with torch.no_grad():
        features = nn.functional.normalize(vision(pixels).pooler_output, dim=1)
        assert_close(model.read_images(pixels), features)
    assert getattr(model.text_model, "pooler", None) is None  # what is not read is not trained
    both = vectors(model, **panel_inputs())
    assert torch.equal(both.panel_embeddings[1], both.visual_embeddings[1])


def test_two_models_at_hand_become_one(folders, tmp_path):
    """As those of the same names do; what is not read of them is left out, and nothing is missing when it is loaded."""
    vision, text = ViTModel.from_pretrained(folders["vision"]), BertModel.from_pretrained(folders["text"])
    model = ComicPanelModel.from_encoders_pretrained(vision, text, 12)
    named = ComicPanelModel.from_encoders_pretrained(str(folders["vision"]), str(folders["text"]), 12)
    inputs = panel_inputs()
    assert_close(vectors(model, **inputs).panel_embeddings, vectors(named, **inputs).panel_embeddings)
    model.save_pretrained(tmp_path)
    loaded, report = ComicPanelModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert_close(vectors(loaded, **inputs).panel_embeddings, vectors(named, **inputs).panel_embeddings)


def test_weights_that_a_checkpoint_lacks_are_no_random_ones(folders, tmp_path):
    shutil.copytree(folders["text"], tmp_path / "bert")
    weights = load_file(tmp_path / "bert" / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "bert" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="bert lacks weights of a BertModel: encoder.layer.1.output.dense.weight"):
        ComicPanelModel.from_encoders_pretrained(None, str(tmp_path / "bert"), 12)


def test_a_classifier_without_a_pooling_layer_gives_its_mean_patch(folders, tmp_path):
    """Its pooling layer would be random, and other at each loading."""
    torch.manual_seed(3)
    classifier = ViTForImageClassification(vision_config())
    classifier.save_pretrained(tmp_path)
    models = [ComicPanelModel.from_encoders_pretrained(str(tmp_path), None, 12) for _ in range(2)]
    pixels = panel_inputs()["pixel_values"]
    first, second = (vectors(model, pixel_values=pixels).visual_embeddings for model in models)
    assert torch.equal(first, second) and models[0].config.vision_pooling == "mean"
    with torch.no_grad():
        patches = classifier.eval().vit(pixels).last_hidden_state
        assert_close(models[0].read_images(pixels), nn.functional.normalize(patches.mean(1), dim=1))


def clip() -> CLIPModel:
    text = {**TINY, "vocab_size": 20, "max_position_embeddings": 8, "eos_token_id": 1, "bos_token_id": 0}
    vision = {**TINY, "image_size": 32, "patch_size": 8}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=6)).eval()


def siglip() -> SiglipModel:
    text = {**TINY, "vocab_size": 20, "max_position_embeddings": 8, "projection_size": 16}
    return SiglipModel(
        SiglipConfig(text_config=text, vision_config={**TINY, "image_size": 32, "patch_size": 8})
    ).eval()


def convnext() -> ConvNextModel:
    return ConvNextModel(ConvNextConfig(hidden_sizes=[8, 12], depths=[1, 1], num_stages=2, image_size=32)).eval()


@pytest.mark.parametrize("make", [clip, siglip, convnext])
def test_the_features_are_those_that_a_vision_model_gives(make, tmp_path):
    """Of a picture-and-text model the picture half, in the space of both; it is saved without the other."""
    torch.manual_seed(4)
    original = make()
    original.save_pretrained(tmp_path / "original")
    model = ComicPanelModel.from_encoders_pretrained(str(tmp_path / "original"), None, 12)
    pixels = panel_inputs()["pixel_values"]
    with torch.no_grad():
        read = getattr(original, "get_image_features", original)
        expected = read(pixel_values=pixels)
        expected = expected if torch.is_tensor(expected) else expected.pooler_output.flatten(1)
        assert_close(model.read_images(pixels), nn.functional.normalize(expected, dim=1))
    assert not any("text" in name for name in model.state_dict())
    model.save_pretrained(tmp_path / "panel")
    loaded = AutoModel.from_pretrained(tmp_path / "panel")
    outputs = [vectors(each, pixel_values=pixels).visual_embeddings for each in (model, loaded)]
    assert_close(*outputs)


def test_of_a_model_with_a_decoder_the_encoder_is_kept(tmp_path):
    config = T5Config(vocab_size=11, d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2)
    model = ComicPanelModel(panel_config(vision_config=None, text_config=config)).eval()
    assert not any("decoder" in name for name in model.state_dict())
    model.save_pretrained(tmp_path)
    inputs = {name: panel_inputs()[name] for name in ("input_ids", "attention_mask")}
    loaded = AutoModel.from_pretrained(tmp_path)
    assert_close(vectors(loaded, **inputs).text_embeddings, vectors(model, **inputs).text_embeddings)


def test_a_text_model_reads_no_pictures(folders):
    with pytest.raises(ValueError, match="reads no pictures"):
        ComicPanelModel.from_encoders_pretrained(str(folders["text"]), None, 12)


@pytest.mark.slow
def test_a_folder_stands_alone(tmp_path, folders):
    """Saved with its processor, and loaded where the package cannot be imported: equal to the bit."""
    halves = {"vit+bert": {}, "lite+": {"text_config": None}, "+bert": {"vision_config": None}}
    lite = EfficientNetLiteConfig(**SMALL, image_size=32)
    tokenizer = ComicPanelProcessor.from_encoders_pretrained(None, str(folders["text"])).tokenizer
    for name, changes in halves.items():
        config = panel_config(**({"vision_config": lite} if "lite" in name else {}) | changes)
        torch.manual_seed(5)
        model = ComicPanelModel(config).eval()
        model.save_pretrained(tmp_path / name)
        processor = ComicPanelProcessor(None if name == "lite+" else tokenizer, image_size=(32, 32))
        processor.save_pretrained(tmp_path / name)
        inputs = processor(
            images=None if name == "+bert" else [picture(1), picture(2)],
            text=None if name == "lite+" else ["the cat", ""],
        )
        torch.save((dict(inputs), dict(vectors(model, **inputs))), tmp_path / name / "expected.pt")
        assert type(AutoConfig.from_pretrained(tmp_path / name)) is ComicPanelConfig
        assert type(AutoModel.from_pretrained(tmp_path / name)) is ComicPanelModel
        assert type(AutoProcessor.from_pretrained(tmp_path / name)) is ComicPanelProcessor
    run_without_package(
        """
        import pathlib
        import numpy as np
        from PIL import Image
        from transformers import AutoProcessor

        def picture(seed):
            return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8))

        for checkpoint in sorted(pathlib.Path(folder).glob("*/model.safetensors")):
            name, checkpoint = checkpoint.parent.name, checkpoint.parent
            for place in (checkpoint, checkpoint / "again"):
                inputs, expected = torch.load(checkpoint / "expected.pt")
                model = AutoModel.from_pretrained(place, trust_remote_code=True)
                processor = AutoProcessor.from_pretrained(place, trust_remote_code=True)
                assert type(model).__module__.startswith("transformers_modules."), type(model)
                own = processor(
                    images=None if name == "+bert" else [picture(1), picture(2)],
                    text=None if name == "lite+" else ["the cat", ""],
                )
                assert set(own) == set(inputs) and all(torch.equal(own[key], inputs[key]) for key in inputs)
                with torch.no_grad():
                    outputs = model(**own)
                for key, value in expected.items():
                    assert torch.equal(outputs[key], value), (name, key)
                model.save_pretrained(checkpoint / "again")
                processor.save_pretrained(checkpoint / "again")
        """,
        tmp_path,
    )
