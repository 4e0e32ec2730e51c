"""The processor prepares pictures as the image processors of transformers do, by Pillow and torch alone."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor

from modeling_comicseq import ComicPanelProcessor
from modeling_comicseq.model.processing_comicpanel import read_image_settings

from ..closeness import assert_close
from ..tiny_encoders import picture, write_text_model

STATISTICS = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
SETTINGS = {
    "ViT": {"size": {"height": 32, "width": 24}, "resample": 2},
    "CLIP": {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True},
    "Bit": {"size": {"shortest_edge": 37}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True},
    "DeiT": {"size": {"height": 40, "width": 40}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True},
    "Siglip": {"size": {"height": 32, "width": 32}, "resample": 3},
    "ConvNext": {"size": {"shortest_edge": 28}, "crop_pct": 0.875, "resample": 3},
    "EfficientNet": {
        "size": {"height": 32, "width": 32},
        "resample": 0,
        "include_top": True,
        "rescale_offset": False,
        "do_center_crop": False,
    },
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_pictures_are_prepared_as_the_models_own_processor_does(kind, tmp_path):
    settings = SETTINGS[kind] | STATISTICS | {"image_processor_type": f"{kind}ImageProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    images = [picture(0, (40, 30)), picture(1, (30, 41)), picture(2, (61, 200)), picture(3, (9, 9))]
    expected = AutoImageProcessor.from_pretrained(tmp_path)(images=images, return_tensors="pt")["pixel_values"]
    processor = ComicPanelProcessor.from_encoders_pretrained(str(tmp_path))
    assert_close(processor(images=images)["pixel_values"], expected)


def test_what_a_file_leaves_out_is_the_default_of_its_class(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "CLIPImageProcessor"}')
    found = read_image_settings(str(tmp_path))
    assert found["image_size"] == [224, 224] and found["squaring"] == "center_crop" and found["resample"] == 3
    assert found["image_mean"][0] == pytest.approx(0.48145466)


def test_settings_that_cannot_be_kept_are_refused(tmp_path):
    with pytest.raises(ValueError, match="has no preprocessor_config.json, which says how its pictures are prepared"):
        read_image_settings(str(tmp_path))
    for changes, message in (
        ({"do_resize": False, "size": {"height": 8, "width": 8}}, "pictures of any size"),
        ({"size": {"shortest_edge": 32}, "do_center_crop": False}, "pictures of any shape"),
    ):
        settings = STATISTICS | {"resample": 2} | changes
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
        with pytest.raises(ValueError, match=message):
            read_image_settings(str(tmp_path))


def test_the_default_is_what_the_stores_are_made_with():
    """EfficientNet-Lite0's: squashed to 224 by Pillow's bicubic filter, (pixel - 127) / 128."""
    image = picture(0, (300, 120))
    pixels = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC)).astype(np.float32)
    expected = torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1)
    assert torch.equal(ComicPanelProcessor()(images=image)["pixel_values"][0], expected)


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (1, 500)])
def test_padding_keeps_proportions_and_adds_the_mean(size):
    image = Image.new("RGB", size, (255, 255, 255))
    processor = ComicPanelProcessor(image_size=(32, 32), squaring="pad")
    pixels = processor(images=image)["pixel_values"][0]
    shown = pixels[0] == 1
    height, width = (max(1, round(side * 32 / max(size))) for side in size[::-1])
    assert shown.any(1).sum() == height and shown.any(0).sum() == width
    assert (pixels[0][~shown] == 0).all()  # the mean, in the model's unit
    middle = [int(places.float().mean()) for places in torch.nonzero(shown).T]
    assert all(14 <= place <= 16 for place in middle)


def test_texts_are_padded_and_cut_and_an_empty_one_is_not_read(tmp_path):
    processor = ComicPanelProcessor.from_encoders_pretrained(None, str(write_text_model(tmp_path)))
    assert processor.max_length == 16
    inputs = processor(text=["the cat", " ", "mat " * 100], captions="on")
    assert inputs["input_ids"].shape == (3, 16) and inputs["caption_input_ids"].shape == (1, 3)
    assert inputs["attention_mask"].sum(1).tolist() == [4, 0, 16]
    assert "pixel_values" not in inputs


@pytest.mark.parametrize("with_texts", [True, False])
def test_it_is_saved_and_loaded(with_texts, tmp_path):
    tokenizer = None
    if with_texts:
        tokenizer = ComicPanelProcessor.from_encoders_pretrained(None, str(write_text_model(tmp_path / "t"))).tokenizer
    processor = ComicPanelProcessor(tokenizer, image_size=(16, 24), squaring="center_crop", crop_share=0.8, resample=2)
    processor.save_pretrained(tmp_path / "p")
    for loaded in (ComicPanelProcessor.from_pretrained(tmp_path / "p"), AutoProcessor.from_pretrained(tmp_path / "p")):
        assert type(loaded) is ComicPanelProcessor and (loaded.tokenizer is not None) == with_texts
        own, other = (
            each(images=[picture(5)], text=["the mat"] if with_texts else None) for each in (processor, loaded)
        )
        assert own.keys() == other.keys() and all(torch.equal(own[name], other[name]) for name in own)
    if not with_texts:
        with pytest.raises(ValueError, match="has no tokenizer"):
            processor(text=["the mat"])


@pytest.mark.parametrize("with_texts", [True, False])
def test_what_is_pushed_is_all_that_loads_it(with_texts, tmp_path, monkeypatch):
    pushed = set()

    def create_commit(self, repo_id, operations, **kwargs):
        pushed.update(operation.path_in_repo for operation in operations)

    monkeypatch.setattr(HfApi, "create_repo", lambda self, repo_id, **kwargs: SimpleNamespace(repo_id=repo_id))
    monkeypatch.setattr(HfApi, "create_commit", create_commit)
    folder = str(write_text_model(tmp_path / "t")) if with_texts else None
    processor = ComicPanelProcessor.from_encoders_pretrained(None, folder)
    processor.save_pretrained(str(tmp_path / "p"), push_to_hub=True, repo_id="someone/comics")
    code = {"processing_comicpanel.py", "pooling_comicpanel.py", "configuration_comicpanel.py"}
    assert pushed >= {"processor_config.json"} | code | ({"tokenizer.json"} if with_texts else set())


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="`squaring` is 'stretch' but must be one of squash, center_crop, pad"):
        ComicPanelProcessor(squaring="stretch")
    with pytest.raises(ValueError, match="`crop_share` is 0.5"):
        ComicPanelProcessor(squaring="pad", crop_share=0.5)
    with pytest.raises(ValueError, match="Nothing is given"):
        ComicPanelProcessor()()
    with pytest.raises(ValueError, match="must be 'pt'"):
        ComicPanelProcessor()(images=picture(0), return_tensors="np")


def test_other_colours_and_no_picture():
    processor = ComicPanelProcessor(image_size=(8, 8))
    grey = Image.new("L", (9, 9), 100)
    assert torch.equal(processor(images=grey)["pixel_values"], processor(images=grey.convert("RGB"))["pixel_values"])
    assert processor(images=[])["pixel_values"].shape == (0, 3, 8, 8)
