"""Tiny vision and text models, saved as models on the Hub are laid out, and panel encoders of them."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import BertConfig, BertModel, BertTokenizerFast, ViTConfig, ViTModel

from modeling_comicseq import ComicPanelConfig, ComicPanelModel

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "mat", "a"]
PICTURES = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}


def picture(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """Noise."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8))


def vision_config(**changes) -> ViTConfig:
    return ViTConfig(**(TINY | {"image_size": 32, "patch_size": 8} | changes))


def text_config(**changes) -> BertConfig:
    return BertConfig(**(TINY | {"vocab_size": len(WORDS), "hidden_size": 8, "max_position_embeddings": 16} | changes))


def write_vision_model(folder: Path, **changes) -> Path:
    """A vision transformer with its image processor."""
    torch.manual_seed(0)
    ViTModel(vision_config(**changes)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PICTURES))
    return folder


def write_text_model(folder: Path, **changes) -> Path:
    """A BERT with its tokenizer, without the pooling layer that sentence encoders do not have."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(1)
    BertModel(text_config(**changes), add_pooling_layer=False).save_pretrained(folder)
    return folder


def panel_config(**changes) -> ComicPanelConfig:
    fields = {"vision_config": vision_config(), "text_config": text_config(), "projection_dim": 12}
    return ComicPanelConfig(**(fields | changes))


def panel_model(**changes) -> ComicPanelModel:
    torch.manual_seed(2)
    return ComicPanelModel(panel_config(**changes)).eval()


def panel_inputs(count: int = 3) -> dict[str, torch.Tensor]:
    """Pictures and texts of panels, of which the second has no text, and captions."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(count, 5, dtype=torch.long)
    mask[0, 3:], mask[1] = 0, 0
    return {
        "pixel_values": torch.randn(count, 3, 32, 32, generator=generator),
        "input_ids": torch.randint(5, len(WORDS), (count, 5), generator=generator),
        "attention_mask": mask,
        "caption_input_ids": torch.randint(5, len(WORDS), (count, 4), generator=generator),
        "caption_attention_mask": torch.ones(count, 4, dtype=torch.long),
    }
