"""A tiny page model with its processor, and pages for it, as the tests of pages use them."""

import base64
import io

import numpy as np
import torch
from PIL import Image, ImageDraw
from transformers import BertConfig, BertTokenizerFast, ViTConfig

from modeling_comicseq import (
    ComicPageModel,
    ComicPanelConfig,
    ComicPanelModel,
    ComicPanelProcessor,
    ComicSeqConfig,
)
from tests.model_inputs import build

WIDTH = 24
WORDS = "the a cat dog where is here roof on no yes and runs sleeps ?".split()


def sequence_config(**changes) -> ComicSeqConfig:
    """A configuration of one width, without dropout."""
    fields = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": 12,
        "panel_embedding_dim": WIDTH,
        "box_embedding": True,
        "box_relation_layers": 1,
    }
    return ComicSeqConfig(**{**fields, **changes})


def panel_config(reads_pictures: bool = True, reads_texts: bool = True, width: int = WIDTH) -> ComicPanelConfig:
    """A configuration of a tiny ViT and a BERT of two layers, without dropout."""
    vision = ViTConfig(
        **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
        **{"image_size": 32, "patch_size": 16, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    )
    text = BertConfig(
        **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16},
        **{"vocab_size": 40, "max_position_embeddings": 64},
        **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    )
    return ComicPanelConfig(
        vision_config=vision if reads_pictures else None,
        text_config=text if reads_texts else None,
        projection_dim=width,
        vision_encoder="tiny-vit" if reads_pictures else None,
        text_encoder="tiny-bert" if reads_texts else None,
    )


def panel_model(reads_pictures: bool = True, reads_texts: bool = True, width: int = WIDTH) -> ComicPanelModel:
    """A panel encoder with random weights."""
    torch.manual_seed(3)
    model = ComicPanelModel(panel_config(reads_pictures, reads_texts, width)).eval()
    with torch.no_grad():  # as drawn, one picture's vector is much like another's
        for parameter in [*model.parameters()]:
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def panel_processor(folder, reads_texts: bool = True) -> ComicPanelProcessor:
    """Its processor; `folder` is for the tokenizer's list of words."""
    tokenizer = None
    if reads_texts:
        (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
        tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    return ComicPanelProcessor(tokenizer, image_size=(32, 32), max_length=64)


def page_model(name: str = "pretraining", **changes) -> ComicPageModel:
    """A page model whose sequence model is of the class `name`, see `tests.model_inputs`."""
    return ComicPageModel.from_parts(panel_model(), build(name, sequence_config(**changes)))


def save_page_model(folder, name: str = "pretraining", **changes) -> ComicPageModel:
    """Writes a checkpoint with its processor; returns the model."""
    model = page_model(name, **changes)
    model.save_pretrained(folder)
    panel_processor(folder).save_pretrained(folder)
    return model


def draw_picture(seed: int, size: tuple[int, int] = (40, 50)) -> Image.Image:
    """A picture of spots, another for each seed."""
    draw_from = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(int(value) for value in draw_from.integers(0, 256, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = draw_from.uniform(0, size[0]), draw_from.uniform(0, size[1])
        fill = tuple(int(value) for value in draw_from.integers(0, 256, 3))
        draw.ellipse((x - 8, y - 8, x + 8, y + 8), fill=fill)
    return image


BOXES = [[0.05, 0.04, 0.95, 0.32], [0.05, 0.36, 0.48, 0.64], [0.52, 0.36, 0.95, 0.64], [0.05, 0.68, 0.95, 0.96]]
TEXTS = ["where is the cat ?", ["here", "on the roof"], "", "the dog sleeps"]


def draw_page(seed: int = 0, size: tuple[int, int] = (300, 420)) -> Image.Image:
    """A white page with a framed picture in each of `BOXES`."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for number, box in enumerate(BOXES):
        x0, y0, x1, y1 = (round(value * side) for value, side in zip(box, (*size, *size), strict=True))
        image.paste(draw_picture(10 * seed + number, (x1 - x0, y1 - y0)), (x0, y0))
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline="black", width=2)
    return image


def page(seed: int = 0) -> dict:
    """A page as pipelines take it."""
    return {"image": draw_page(seed), "boxes": BOXES, "texts": TEXTS, "reading_direction": "ltr"}


def as_base64(image: Image.Image, kind: str = "PNG") -> str:
    """A picture as an endpoint takes it."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()
