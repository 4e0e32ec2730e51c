# Copyright 2026 The ComicSeq authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Processor of ComicPanel: pictures by Pillow and torch alone, texts by the text model's tokenizer."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, BatchFeature, ProcessorMixin
from transformers.dynamic_module_utils import custom_object_save

from .pooling_comicpanel import read_json, read_text_pooling

SQUARING = ("squash", "center_crop", "pad")
MAX_LENGTH = 256  # tokens of a text, where its model could read more


class ComicPanelProcessor(ProcessorMixin):
    r"""
    Prepares the pictures and texts of panels for [`ComicPanelModel`].

    Args:
        tokenizer (`PreTrainedTokenizerBase`, *optional*):
            Tokenizer of the text model; None for pictures alone.
        image_size (`list[int]`, *optional*, defaults to `[224, 224]`):
            Height and width of what the vision model reads.
        squaring (`str`, *optional*, defaults to `"squash"`):
            How a panel of another shape gets there: `"squash"` stretches it; `"center_crop"` keeps its proportions and
            cuts off what is over; `"pad"` keeps its proportions and fills what is missing with `image_mean`.
        crop_share (`float`, *optional*, defaults to 1.0):
            With less than 1, a panel is made larger by so much, and cut to the size from its middle.
        resample (`int`, *optional*, defaults to 3):
            Pillow's filter for resizing: 3 is bicubic, 2 bilinear.
        rescale_factor (`float`, *optional*, defaults to 1.0):
            Factor on pixels (0 to 255), before the mean is taken off.
        image_mean (`list[float]`, *optional*):
            What is taken off each channel, in the rescaled unit. EfficientNet-Lite0's by default.
        image_std (`list[float]`, *optional*):
            What each channel is divided by.
        max_length (`int`, *optional*, defaults to 256):
            Tokens that are read of a text at most. Of two models by name: what the tokenizer's own file cuts at, where it
            does; all-MiniLM-L6-v2's at 128.
    """

    def __init__(
        self,
        tokenizer=None,
        image_size=(224, 224),
        squaring="squash",
        crop_share=1.0,
        resample=3,
        rescale_factor=1.0,
        image_mean=(127.0, 127.0, 127.0),
        image_std=(128.0, 128.0, 128.0),
        max_length=MAX_LENGTH,
        **kwargs,
    ):
        self.image_size = [int(side) for side in image_size]
        self.squaring = squaring
        self.crop_share = float(crop_share)
        self.resample = int(resample)
        self.rescale_factor = float(rescale_factor)
        self.image_mean = [float(value) for value in image_mean]
        self.image_std = [float(value) for value in image_std]
        self.max_length = int(max_length)
        if squaring not in SQUARING:
            raise ValueError(f"`squaring` is {squaring!r} but must be one of {', '.join(SQUARING)}.")
        if not 0 < self.crop_share <= 1 or squaring == "pad" and self.crop_share != 1:
            raise ValueError(f"`crop_share` is {crop_share} but must be above 0 and at most 1, and 1 with `pad`.")
        if tokenizer is None:
            self.tokenizer, self.chat_template = None, None
        else:
            if tokenizer.pad_token is None:  # models that write text: padding is never read
                tokenizer.pad_token = tokenizer.eos_token
            super().__init__(tokenizer, **kwargs)

    @classmethod
    def from_encoders_pretrained(
        cls, vision: str | None = None, text: str | None = None, **settings: Any
    ) -> "ComicPanelProcessor":
        """Makes the processor of two models.

        Args:
            vision: Folder or Hub name of the vision model, whose image processor's settings are read; None for texts alone.
            text: Folder or Hub name of the text model, whose tokenizer is loaded; None for pictures alone.
            settings: Arguments of the class, which win over what is read.

        Raises:
            ValueError: If the vision model's pictures are prepared in a way that is not done here.
        """
        found = {} if vision is None else read_image_settings(vision)
        if text is not None:
            _, subfolder = read_text_pooling(text)
            tokenizer = found["tokenizer"] = AutoTokenizer.from_pretrained(text, subfolder=subfolder)
            config = AutoConfig.from_pretrained(text, subfolder=subfolder)
            cut = getattr(getattr(tokenizer, "backend_tokenizer", None), "truncation", None) or {}
            lengths = MAX_LENGTH, getattr(config, "max_position_embeddings", None), cut.get("max_length")
            found["max_length"] = min(length for length in lengths if length)
        return cls(**found | settings)

    def __call__(
        self,
        images: Image.Image | Sequence[Image.Image] | None = None,
        text: str | Sequence[str] | None = None,
        captions: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Tensors for the model.

        Args:
            images: Pictures of M panels.
            text: Their texts; an empty one has an attention mask of zeros.
            captions: Captions of them.
            kwargs: Nothing else is done; `return_tensors` may be given, and must be "pt".

        Returns:
            `pixel_values` (M, 3, H, W) float32; `input_ids` and `attention_mask` (M, L); `caption_input_ids` and
            `caption_attention_mask` (M, L).
        """
        if kwargs.pop("return_tensors", "pt") != "pt":
            raise ValueError("`return_tensors` must be 'pt': the model reads torch tensors.")
        data: dict[str, torch.Tensor] = {}
        if images is not None:
            data["pixel_values"] = self.prepare_images([images] if isinstance(images, Image.Image) else images)
        for texts, prefix in ((text, ""), (captions, "caption_")):
            if texts is not None:
                tokens = self.tokenize([texts] if isinstance(texts, str) else texts)
                data |= {prefix + name: tensor for name, tensor in tokens.items()}
        if not data:
            raise ValueError("Nothing is given: `images`, `text` or `captions` are needed.")
        return BatchFeature(data)

    def prepare_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Pictures as the vision model reads them (M, 3, H, W) float32."""
        pixels = np.zeros((len(images), *self.image_size, 3), np.uint8)
        for place, image in enumerate(images):
            pixels[place] = self._square(image.convert("RGB"))
        values = torch.from_numpy(pixels).to(torch.float32)
        values = (values * self.rescale_factor - torch.tensor(self.image_mean)) / torch.tensor(self.image_std)
        return values.permute(0, 3, 1, 2)

    def tokenize(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Tokens and masks of texts, each (M, L)."""
        if self.tokenizer is None:
            raise ValueError("The processor has no tokenizer: the model that it belongs to reads no texts.")
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        )
        is_read = torch.tensor([[bool(text.strip())] for text in texts])
        return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"] * is_read}

    @property
    def model_input_names(self) -> list[str]:
        names = ["pixel_values"]
        if self.tokenizer is not None:
            names += ["input_ids", "attention_mask", "caption_input_ids", "caption_attention_mask"]
        return names

    def _square(self, image: Image.Image) -> Image.Image:
        """The picture at the size that the vision model reads."""
        height, width = self.image_size
        if self.squaring == "squash":
            whole = image.resize((round(width / self.crop_share), round(height / self.crop_share)), self.resample)
            return whole if whole.size == (width, height) else _middle(whole, width, height)
        if self.squaring == "center_crop":
            short = round(min(width, height) / self.crop_share)
            scale = short / min(image.size)
            # The shorter side is exact, the longer one cut down, as torchvision does.
            sides = [short if side == min(image.size) else int(short * side / min(image.size)) for side in image.size]
            return _middle(image.resize(sides, self.resample), width, height)
        scale = min(width / image.width, height / image.height)
        inside = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), self.resample)
        colour = tuple(round(value / self.rescale_factor) for value in self.image_mean)
        whole = Image.new("RGB", (width, height), colour)
        whole.paste(inside, ((width - inside.width) // 2, (height - inside.height) // 2))
        return whole

    # transformers' processors always have a tokenizer; this one may have none.
    def to_dict(self) -> dict[str, Any]:
        content = super().to_dict()
        return content if self.tokenizer is not None else content | {"tokenizer": None}

    @classmethod
    def _get_arguments_from_pretrained(cls, pretrained_model_name_or_path, processor_dict=None, **kwargs):
        if processor_dict is not None and processor_dict.get("tokenizer", "") is None:
            return [None]
        return super()._get_arguments_from_pretrained(pretrained_model_name_or_path, processor_dict, **kwargs)

    def save_pretrained(self, save_directory, push_to_hub: bool = False, **kwargs):
        """Saves the settings, the tokenizer, and this file, so that the folder loads without this package."""
        if self.tokenizer is not None:
            return super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)
        os.makedirs(save_directory, exist_ok=True)
        custom_object_save(self, save_directory, config=self)
        file = os.path.join(save_directory, "processor_config.json")
        self.to_json_file(file)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", os.path.basename(save_directory)), **kwargs)
        return [file]


def read_image_settings(name: str) -> dict[str, Any]:
    """Arguments of a processor that prepares pictures as the image processor of a model does.

    Args:
        name: A folder, or a name on the Hub.

    Raises:
        ValueError: If the settings are missing, or ask for what is not done here.
    """
    said = read_json(name, "preprocessor_config.json")
    if not isinstance(said, dict):
        content = read_json(name, "processor_config.json")
        said = content.get("image_processor") if isinstance(content, dict) else None
    if not isinstance(said, dict):
        raise ValueError(f"{name} has no preprocessor_config.json, which says how its pictures are prepared.")
    if not {"size", "image_mean", "image_std", "resample"} <= said.keys():
        # What is left out are the defaults of its class.
        said = AutoImageProcessor.from_pretrained(name).to_dict() | said
    found: dict[str, Any] = {"resample": said.get("resample", 3)}
    size, crop = _sides(said["size"]), _sides(said.get("crop_size") or said["size"])
    is_cropped = said.get("do_center_crop", False)
    target = crop if is_cropped else size
    found["image_size"] = list(target)
    if not said.get("do_resize", True):
        raise ValueError(f"{name} reads pictures of any size, which panels are not brought to here.")
    if isinstance(said["size"], dict) and "shortest_edge" in said["size"] or said.get("crop_pct") is not None:
        found["squaring"] = "center_crop"
        if is_cropped:
            found["crop_share"] = min(1.0, min(target) / min(size))
        elif said.get("crop_pct") is not None:  # ConvNeXT: large pictures are stretched, others cut
            is_large = min(size) >= 384
            found |= {"squaring": "squash"} if is_large else {"crop_share": said["crop_pct"]}
        else:
            raise ValueError(f"{name} reads pictures of any shape, which panels are not brought to here.")
    elif is_cropped:
        found["crop_share"] = min(1.0, min(target) / min(size))
    # Pixels are rescaled and normalised unless it says otherwise.
    found["rescale_factor"] = said.get("rescale_factor", 1 / 255) if said.get("do_rescale", True) else 1.0
    mean, std = np.zeros(3), np.ones(3)
    if said.get("do_normalize", True):
        mean, std = np.broadcast_to(said["image_mean"], 3), np.broadcast_to(said["image_std"], 3)
    if said.get("rescale_offset"):  # EfficientNet: from -1
        mean = mean + 1
    if said.get("include_top"):  # EfficientNet: divided once more
        std = std * std
    return found | {"image_mean": mean.tolist(), "image_std": std.tolist()}


def _sides(size: int | dict[str, int]) -> tuple[int, int]:
    """Height and width of what an image processor calls a size."""
    if isinstance(size, int):
        return size, size
    if "shortest_edge" in size:
        return size["shortest_edge"], size["shortest_edge"]
    return size["height"], size["width"]


def _middle(image: Image.Image, width: int, height: int) -> Image.Image:
    """The middle of a picture that is at least as large."""
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


# Saved checkpoints carry this file and name it in `processor_config.json`.
ComicPanelProcessor.register_for_auto_class()

__all__ = ["ComicPanelProcessor"]
