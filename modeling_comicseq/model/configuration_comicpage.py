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
"""ComicPage model configuration: a panel encoder and a sequence model in one checkpoint"""

from pathlib import Path

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.utils import auto_docstring

from .configuration_comicpanel import ComicPanelConfig
from .configuration_comicseq import REQUIREMENTS, ComicSeqConfig

PAGE_REQUIREMENTS = REQUIREMENTS + "pillow>=10\n"

# The vectors of a panel that a sequence model reads, all of which the panel encoder makes in one width.
MODALITIES = ("panel", "text", "visual", "caption")
TEXT_READINGS = VECTORS, TOKENS = "vectors", "tokens"


@auto_docstring(checkpoint="org/comicpage")
@strict
class ComicPageConfig(PreTrainedConfig):
    r"""
    panel_config (`ComicPanelConfig` or `dict`, *optional*):
        Configuration of the panel encoder, by default one without a vision and a text model.
    sequence_config (`ComicSeqConfig` or `dict`, *optional*):
        Configuration of the sequence model. Its `architectures` name the class: `ComicSeqForPreTraining` (the default),
        `ComicSeqModel`, or that of one task.
    text_reading (`str`, *optional*, defaults to `"vectors"`):
        How candidate texts of text-cloze and text closure are compared with the page's: `"vectors"`, one a text, or also
        `"tokens"`: they read each other's words, see [`ComicPageTextReader`].
    text_reading_layers (`int`, *optional*, defaults to 2):
        How many of the text model's last layers are copied for that.

    Example:

    ```python
    >>> from transformers import BertConfig, ViTConfig
    >>> from modeling_comicseq import ComicPageConfig, ComicPageModel, ComicPanelConfig, ComicSeqConfig

    >>> panels = ComicPanelConfig(vision_config=ViTConfig(), text_config=BertConfig())
    >>> configuration = ComicPageConfig(panel_config=panels, sequence_config=ComicSeqConfig())
    >>> model = ComicPageModel(configuration)
    >>> configuration = model.config
    ```"""

    model_type = "comicpage"
    sub_configs = {"panel_config": ComicPanelConfig, "sequence_config": ComicSeqConfig}

    panel_config: PreTrainedConfig | dict | None = None
    sequence_config: PreTrainedConfig | dict | None = None
    text_reading: str = "vectors"
    text_reading_layers: int = 2

    def __post_init__(self, **kwargs):
        for name, config_class in self.sub_configs.items():
            value = getattr(self, name)
            if value is None or isinstance(value, dict):
                value = config_class(**(value or {}))
            setattr(self, name, value)
        if self.is_installed:
            kwargs.pop("custom_pipelines", None)  # the package registers its pipelines itself
        super().__post_init__(**kwargs)

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        """Reads what a checkpoint says; raises a `ValueError` if that is of another kind, of which nothing would be read."""
        content, others = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if content.get("model_type", cls.model_type) != cls.model_type:
            raise ValueError(
                f"{pretrained_model_name_or_path} is a checkpoint of the type {content['model_type']!r}, not a page model"
                f" ({cls.model_type!r})."
            )
        return content, others

    @property
    def is_installed(self) -> bool:
        """Whether this code is the installed package's, not a copy that a checkpoint carries."""
        return not __name__.startswith("transformers_modules.")

    @property
    def sequence_class(self) -> str:
        """Name of the sequence model's class."""
        return (self.sequence_config.architectures or ["ComicSeqForPreTraining"])[0]

    def save_pretrained(self, save_directory, **kwargs):
        """Saves the configuration, and `requirements.txt` for those who install what the checkpoint needs from it."""
        super().save_pretrained(save_directory, **kwargs)
        (Path(save_directory) / "requirements.txt").write_text(PAGE_REQUIREMENTS, encoding="utf-8")

    def validate_architecture(self):
        """Checks that the parts fit each other."""
        check_widths(self.panel_config, self.sequence_config)
        if self.text_reading not in TEXT_READINGS:
            raise ValueError(f"`text_reading` is {self.text_reading!r} but must be one of {', '.join(TEXT_READINGS)}.")
        if self.text_reading == TOKENS and self.panel_config.text_config is None:
            raise ValueError(
                '`text_reading` is "tokens" but the panel encoder has no text model: take one that has, or'
                ' `text_reading="vectors"`.'
            )


def check_widths(panel_config: PreTrainedConfig, sequence_config: PreTrainedConfig) -> None:
    """Raises a `ValueError` unless the sequence model reads vectors as wide as the panel encoder makes them."""
    made = panel_config.projection_dim
    for modality in MODALITIES:
        read = getattr(sequence_config, f"{modality}_embedding_dim")
        if read != (2 * made if modality == "panel" and sequence_config.has_streams else made):
            raise ValueError(
                f"The panel encoder makes vectors of {made} numbers (`projection_dim`) but the sequence model reads"
                f" {modality} vectors of {read} (`{modality}_embedding_dim`): put those together that were trained together."
            )


# Saved checkpoints carry this file and name it in their `auto_map`.
ComicPageConfig.register_for_auto_class()

__all__ = ["ComicPageConfig"]
