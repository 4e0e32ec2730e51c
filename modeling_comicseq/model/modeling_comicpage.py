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
"""PyTorch ComicPage model: pages as pictures and texts in, strip vectors, contextualised panels and answers out"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs, auto_docstring
from transformers.utils.generic import can_return_tuple

from .checks_comicseq import as_index, check_shape, check_tensors, check_values
from .configuration_comicpage import TOKENS, ComicPageConfig, check_widths
from .modeling_comicpanel import ComicPanelModel
from .modeling_comicseq import (
    TASK_CLASSES,
    ComicSeqForPreTraining,
    ComicSeqForPreTrainingOutput,
    ComicSeqModel,
    split_arguments,
)
from .pipeline_comicseq import PAGE_MODELS, custom_pipelines
from .reader_comicpage import READING_TASKS, ComicPageTextReader, texts_of


@dataclass
@auto_docstring(
    custom_intro="Output of the page model. `contextualized_panels` and `strip_embedding` are read-only names for the first two fields."
)
class ComicPageModelOutput(ModelOutput):
    r"""
    last_hidden_state (`torch.FloatTensor` of shape `(batch_size, num_panels, hidden_size)`):
        One contextualised vector per panel.
    pooler_output (`torch.FloatTensor` of shape `(batch_size, hidden_size)`, *optional*):
        One vector per strip; None where the sequence model is that of one task, which has none.
    panel_embeddings (`torch.FloatTensor` of shape `(num_rows, panel_embedding_dim)`):
        The vector of each panel as the sequence model reads it: the panel encoder's fused one, or with separate streams
        those of its picture and its text side by side.
    visual_embeddings (`torch.FloatTensor` of shape `(num_rows, projection_dim)`, *optional*):
        The vector of each panel's picture, where pictures were given.
    text_embeddings (`torch.FloatTensor` of shape `(num_rows, projection_dim)`, *optional*):
        The vector of each panel's text, where texts were given.
    caption_embeddings (`torch.FloatTensor` of shape `(num_rows, projection_dim)`, *optional*):
        The vector of each panel's caption, where captions were given.
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    panel_embeddings: torch.FloatTensor | None = None
    visual_embeddings: torch.FloatTensor | None = None
    text_embeddings: torch.FloatTensor | None = None
    caption_embeddings: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    cross_attentions: tuple[torch.FloatTensor, ...] | None = None

    @property
    def contextualized_panels(self) -> torch.FloatTensor:
        return self.last_hidden_state

    @property
    def strip_embedding(self) -> torch.FloatTensor:
        return self.pooler_output


def take_rows(vectors: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The rows `index` (..., any shape) of `vectors` (M, W), with zeros where it is -1."""
    rows = vectors[index.clamp(min=0)]
    return torch.where((index >= 0)[..., None], rows, torch.zeros_like(rows))


def sequence_class(name: str) -> type[PreTrainedModel]:
    """The class of a sequence model by its name; raises a `ValueError` where there is none."""
    classes = {each.__name__: each for each in (ComicSeqForPreTraining, ComicSeqModel, *TASK_CLASSES.values())}
    if name not in classes:
        raise ValueError(f"The sequence model is of the class {name!r} but must be one of {', '.join(classes)}.")
    return classes[name]


@auto_docstring
class ComicPagePreTrainedModel(PreTrainedModel):
    config: ComicPageConfig
    base_model_prefix = "comicpage"
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    # Losses are means over examples: gradient accumulation has nothing to rescale.
    accepts_loss_kwargs = False
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _auto_class = "AutoModel"


@auto_docstring(
    custom_intro="A panel encoder and a sequence model in one: pictures and texts of panels in, one contextualised vector per panel and one vector per page out."
)
class ComicPageModel(ComicPagePreTrainedModel):
    def __init__(self, config: ComicPageConfig):
        super().__init__(config)
        config.validate_architecture()  # whoever puts two configurations together may change one of them later
        self.panel_encoder = ComicPanelModel._from_config(config.panel_config)
        self.sequence_model = sequence_class(config.sequence_class)._from_config(config.sequence_config)
        self.text_reader = self.make_text_reader()
        self.post_init()

    @classmethod
    def from_parts(cls, panel_model: ComicPanelModel, sequence_model: PreTrainedModel, **fields: Any):
        """
        One model of a panel encoder and of a sequence model of any ComicSeq class, which it keeps and does not copy. A new
        text reader begins as the text model's last layers.

        Args:
            panel_model: The panel encoder.
            sequence_model: The sequence model.
            fields: Further fields of the configuration.

        Raises:
            ValueError: The encoder makes vectors of another width than the sequence model reads, or its text model cannot be
                read at the level of tokens.
        """
        sequence_class(type(sequence_model).__name__)
        if not isinstance(panel_model, ComicPanelModel):
            raise ValueError(f"The panel encoder is a {type(panel_model).__name__} but must be a ComicPanelModel.")
        check_widths(panel_model.config, sequence_model.config)
        configs = [copy.deepcopy(part.config) for part in (panel_model, sequence_model)]
        configs[1].architectures = [type(sequence_model).__name__]
        for config in configs:
            for name in ("auto_map", "custom_pipelines"):  # of the parts' own checkpoints
                if hasattr(config, name):
                    delattr(config, name)
        config = ComicPageConfig(panel_config=configs[0], sequence_config=configs[1], **fields)
        with torch.device("meta"):  # the weights are there
            model = cls(config)
        model.panel_encoder, model.sequence_model = panel_model, sequence_model
        model.text_reader = model.make_text_reader()
        return model.train(sequence_model.training)

    def make_text_reader(self) -> ComicPageTextReader | None:
        """A new text reader of the text model's last layers, where the configuration wants one."""
        if self.config.text_reading != TOKENS:
            return None
        return ComicPageTextReader(self.panel_encoder.text_model, self.config.text_reading_layers)

    def get_panel_vectors(
        self,
        pixel_values: torch.FloatTensor | None = None,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        caption_input_ids: torch.LongTensor | None = None,
        caption_attention_mask: torch.Tensor | None = None,
    ) -> ModelOutput:
        """
        The vectors of panels, as the panel encoder gives them: `visual_embeddings`, `text_embeddings` and
        `caption_embeddings`, each (M, projection_dim) or None, and `panel_embeddings` (M, panel_embedding_dim) as the sequence
        model reads them. Questions of every task are asked of the sequence model with rows of these, which [`take_rows`]
        takes: those of pages and those of candidates.
        """
        panels = self.panel_encoder(
            pixel_values=pixel_values,
            input_ids=input_ids,
            attention_mask=attention_mask,
            caption_input_ids=caption_input_ids,
            caption_attention_mask=caption_attention_mask,
        )
        if panels.panel_embeddings is not None:
            panels.panel_embeddings = self.panel_vectors(panels.visual_embeddings, panels.text_embeddings)
        return panels

    def panel_vectors(self, visual: torch.Tensor | None, text: torch.Tensor | None) -> torch.Tensor:
        """
        Vectors of panels (..., panel_embedding_dim) as the sequence model reads them, of those of pictures and texts
        (..., projection_dim), or of one of them: fused, or side by side with zeros for what there is not.
        """
        if not self.config.sequence_config.has_streams:
            return self.panel_encoder.fuse(visual, text)
        visual = torch.zeros_like(text) if visual is None else visual
        return torch.cat((visual, torch.zeros_like(visual) if text is None else text), dim=-1)

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        pixel_values: torch.FloatTensor | None = None,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        caption_input_ids: torch.LongTensor | None = None,
        caption_attention_mask: torch.Tensor | None = None,
        panel_index: torch.LongTensor | None = None,
        panel_boxes: torch.FloatTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ComicPageModelOutput:
        r"""
        pixel_values (`torch.FloatTensor` of shape `(num_rows, num_channels, height, width)`, *optional*):
            The pictures of all panels of the batch, as the processor prepares them, each once.
        input_ids (`torch.LongTensor` of shape `(num_rows, length)`, *optional*):
            Their texts.
        attention_mask (`torch.Tensor` of shape `(num_rows, length)`, *optional*):
            1 for a token of a text, 0 for padding; a panel without text has none.
        caption_input_ids (`torch.LongTensor` of shape `(num_rows, length)`, *optional*):
            Their captions.
        caption_attention_mask (`torch.Tensor` of shape `(num_rows, length)`, *optional*):
            1 for a token of a caption, 0 for padding.
        panel_index (`torch.LongTensor` of shape `(batch_size, num_panels)`, *optional*):
            Row of each panel of each page, in reading order; -1 behind a page's last panel. A row may stand on several
            pages. By default all rows are one page.
        panel_boxes (`torch.FloatTensor` of shape `(batch_size, num_panels, 4)`, *optional*):
            Where each panel stands, as [`ComicSeqModel`] takes it.
        position_ids (`torch.LongTensor` of shape `(batch_size, num_panels)`, *optional*):
            Place of each panel in the reading order, -1 for none. Defaults to the order given.

        Example:

        ```python
        >>> import torch
        >>> from transformers import BertConfig, ViTConfig
        >>> from modeling_comicseq import ComicPageConfig, ComicPageModel, ComicPanelConfig, ComicSeqConfig

        >>> panels = ComicPanelConfig(vision_config=ViTConfig(num_hidden_layers=1), text_config=BertConfig(num_hidden_layers=1))
        >>> configuration = ComicPageConfig(panel_config=panels, sequence_config=ComicSeqConfig(num_hidden_layers=1))
        >>> model = ComicPageModel(configuration).eval()
        >>> outputs = model(torch.randn(3, 3, 224, 224), torch.ones(3, 5, dtype=torch.long))
        >>> outputs.contextualized_panels.shape, outputs.strip_embedding.shape
        (torch.Size([1, 3, 512]), torch.Size([1, 512]))
        ```"""
        settings, others = split_arguments(kwargs)
        for name in others:
            raise ValueError(f"{type(self).__name__} does not take `{name}`.")
        check_tensors({"pixel_values": pixel_values, "input_ids": input_ids, "panel_index": panel_index})
        if pixel_values is None and input_ids is None:
            raise ValueError("The page model lacks `pixel_values`, `input_ids` or both.")
        panels = self.get_panel_vectors(
            pixel_values, input_ids, attention_mask, caption_input_ids, caption_attention_mask
        )
        vectors = panels.panel_embeddings
        if panel_index is None:
            panel_index = torch.arange(len(vectors), device=vectors.device)[None]
        check_shape("panel_index", panel_index, None, None)
        panel_index = as_index("panel_index", panel_index)
        is_possible = (panel_index >= -1) & (panel_index < len(vectors))
        check_values(
            is_possible, f"`panel_index` must be from -1 to below {len(vectors)}, the panels given", panel_index
        )
        outputs = self.sequence_encoder(
            take_rows(vectors, panel_index),
            attention_mask=(panel_index >= 0).long(),
            position_ids=position_ids,
            panel_boxes=panel_boxes,
            **settings,
        )
        return ComicPageModelOutput(
            last_hidden_state=outputs.last_hidden_state,
            pooler_output=outputs.pooler_output,
            panel_embeddings=vectors,
            visual_embeddings=panels.visual_embeddings,
            text_embeddings=panels.text_embeddings,
            caption_embeddings=panels.caption_embeddings,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            cross_attentions=outputs.cross_attentions,
        )

    def read_words(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Vectors (M, projection_dim) of texts, and of their tokens the states (M, L, W) that the text reader reads, in one pass.

        Args:
            input_ids: Tokens of the texts (M, L).
            attention_mask: 1 for the tokens that are read (M, L).
        """
        encoder = self.panel_encoder
        states, mask = encoder.read_tokens(input_ids, attention_mask)
        vectors = encoder.project(encoder.pool_tokens(states, mask), encoder.text_projection)
        return vectors, states[-1 - self.config.text_reading_layers]

    @property
    def sequence_encoder(self) -> ComicSeqModel:
        """The sequence model without its heads."""
        return self.sequence_model.base_model

    def get_input_embeddings(self):
        """What reads the panels' vectors."""
        return self.sequence_model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.sequence_model.set_input_embeddings(value)

    def page_reader(self, processor: Any = None) -> Any:
        """What turns questions about pages into questions about vectors, see [`PageReader`]. Pipelines ask for it."""
        from .reading_comicpage import PageReader

        return PageReader(self, processor)

    def save_pretrained(self, save_directory, **kwargs):
        """Saves weights, configuration and modelling files, so that the folder loads without this package."""
        self.config.auto_map = {
            "AutoConfig": "configuration_comicpage.ComicPageConfig",
            "AutoModel": "modeling_comicpage.ComicPageModel",
            "AutoModelForPreTraining": "modeling_comicpage.ComicPageForPreTraining",
            "AutoProcessor": "processing_comicpanel.ComicPanelProcessor",
        }
        # Named here, as the files of pipelines and endpoints are copied only where this file imports them.
        from .handler import EndpointHandler  # noqa: F401
        from .processing_comicpanel import ComicPanelProcessor  # noqa: F401
        from .requests_comicpage import PageRequest  # noqa: F401

        served = custom_pipelines(self.config.sequence_class)
        self.config.custom_pipelines = {name: task | {"pt": ["AutoModel"]} for name, task in served.items()}
        super().save_pretrained(save_directory, **kwargs)
        if self.config.is_installed:
            del self.config.custom_pipelines  # else `pipeline` would ask to trust the folder's own code


@auto_docstring(
    custom_intro="The page model as it is trained: the pictures and texts of a batch are encoded once each, and its questions and views are asked of the sequence model, through which gradients reach the panel encoder."
)
class ComicPageForPreTraining(ComicPageModel):
    _auto_class = "AutoModelForPreTraining"

    def encode_contents(self, *batches: Any, **contents: Any) -> torch.Tensor:
        """
        Vectors (1 + P + T, projection_dim) of P pictures and T texts; the first is zeros, which stands for nothing. Arguments
        are those of `encode_words`.
        """
        return self.encode_words(*batches, **contents)[0]

    def encode_words(
        self,
        pixel_values: Sequence[torch.Tensor] = (),
        image_features: torch.Tensor | None = None,
        texts: Sequence[Mapping[str, torch.Tensor]] = (),
        text_features: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """
        Vectors (1 + P + T, projection_dim) of P pictures and T texts; the first is zeros, which stands for nothing. And,
        where the model has a text reader, of each batch of texts the states of the tokens (t, L, W) and their mask (t, L).

        Args:
            pixel_values: The pictures in batches, each (p, C, H, W).
            image_features: Instead: what `ComicPanelModel.read_images` makes of them (P, F), for an encoder that stays as it is.
            texts: The texts in batches of about one length, each `input_ids` and `attention_mask` (t, L).
            text_features: Instead: what `ComicPanelModel.read_texts` makes of them (T, F); not where words are read.
        """
        encoder, words = self.panel_encoder, []
        parts = [encoder.get_image_features(each) for each in pixel_values]
        if image_features is not None:
            parts.append(encoder.project(image_features, encoder.visual_projection))
        for each in texts:
            ids, mask = each["input_ids"], each["attention_mask"]
            if self.text_reader is None:
                parts.append(encoder.get_text_features(ids, mask))
            else:
                vectors, states = self.read_words(ids, mask)
                parts.append(vectors)
                words.append((states, mask))
        if text_features is not None:
            parts.append(encoder.project(text_features, encoder.text_projection))
        like = parts[0] if parts else next(encoder.parameters())
        return torch.cat([like.new_zeros(1, encoder.config.projection_dim), *parts]), words

    def forward(self, contents: Mapping[str, Any], **questions: Any) -> ComicSeqForPreTrainingOutput:
        r"""
        contents (`dict`):
            Arguments of `encode_words`: each distinct picture and text of the batch, once.
        questions:
            Arguments of the sequence model, by default [`ComicSeqForPreTraining`]; where that takes vectors, rows of what
            `encode_words` returns, as integers with a last axis of one (a picture, a text or a caption) or two (a panel's
            picture and text); 0 for nothing.
        """
        vectors, words = self.encode_words(**contents)
        asked = fill_vectors(questions, vectors, self.config.sequence_config.has_streams)
        if words:
            for task, question in self.reading_questions(questions):
                scores = self.score_words(task, question, words, len(vectors))
                (asked if question is questions else asked[task])["candidate_scores"] = scores
        return self.sequence_model(**asked)

    def reading_questions(self, questions: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Those of the questions of a batch that ask for a text, each with the name of its task."""
        task = getattr(self.sequence_model, "task", None)
        if task is not None:
            return [(task.name, questions)] if task.name in READING_TASKS else []
        return [(name, questions[name]) for name in READING_TASKS if questions.get(name) is not None]

    def score_words(
        self,
        task: str,
        question: Mapping[str, Any],
        words: Sequence[tuple[torch.Tensor, torch.Tensor]],
        num_rows: int,
    ) -> torch.Tensor:
        """
        The text reader's scores (B, K) of the candidates of a question.

        Args:
            task: Name of its task.
            question: Its inputs, with rows of vectors in the place of these.
            words: The tokens of the batch's texts, as `encode_words` gives them.
            num_rows: The number of its vectors, the last of which are those of the texts.
        """
        states, mask = join_words(words)
        context, offsets, candidates = texts_of(task, question)
        first = num_rows - len(states)
        context, candidates = (torch.where(rows >= first, rows - first, -1) for rows in (context, candidates))
        return self.text_reader(states, mask, context, offsets, candidates)

    def train(self, mode: bool = True):
        """
        As any module's; but what is frozen of the panel encoder stays in evaluation mode, and so does batch normalisation:
        the statistics of its training are not replaced by those of small batches.
        """
        super().train(mode)
        for module in self.panel_encoder.modules():
            weights = list(module.parameters())
            is_frozen = len(weights) > 0 and not any(weight.requires_grad for weight in weights)
            if is_frozen or isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def save_pretrained(self, save_directory, **kwargs):
        """
        Saves all that [`ComicPageModel`] does, under the weights' own names: transformers gives those of some encoders others
        on the disk, which its Trainer, when it resumes, does not find.
        """
        super().save_pretrained(save_directory, **{"save_original_format": False, **kwargs})


def join_words(words: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Batches of tokens' states (t, L, W) and masks (t, L) as one, padded to the longest."""
    longest = max(states.shape[1] for states, _ in words)
    pad = nn.functional.pad
    states = [pad(states, (0, 0, 0, longest - states.shape[1])) for states, _ in words]
    masks = [pad(mask, (0, longest - mask.shape[1])) for _, mask in words]
    return torch.cat(states), torch.cat(masks)


def fill_vectors(inputs: Mapping[str, Any], vectors: torch.Tensor, has_streams: bool = False) -> dict[str, Any]:
    """
    The inputs of a sequence model, and dictionaries within them, with vectors (..., W) in the place of rows (..., 1 or 2) of
    `vectors` (M, W): of a panel, the sum of those of its picture and its text, with separate streams one beside the other.
    """

    def fill(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return fill_vectors(value, vectors, has_streams)
        is_vector = name.endswith(("_embedding", "_embeddings")) and isinstance(value, torch.Tensor)
        if not is_vector or value.is_floating_point():
            return value
        found = nn.functional.embedding(value, vectors)
        return found.flatten(-2) if has_streams else found.sum(-2)

    return {name: fill(name, value) for name, value in inputs.items()}


PAGE_MODELS.append(ComicPageModel)

__all__ = [
    "ComicPageForPreTraining",
    "ComicPageModel",
    "ComicPageModelOutput",
    "ComicPagePreTrainedModel",
    "fill_vectors",
    "join_words",
    "take_rows",
]
