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
"""ComicSeq model configuration"""

import math
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN
from transformers.utils import auto_docstring

from .tasks_comicseq import TASKS

# What a checkpoint's own code needs. Hosted endpoints install from it; they come with an older transformers.
REQUIREMENTS = """\
numpy>=1.26
safetensors>=0.5
torch>=2.6
transformers>=5.2,<6
"""

# No sequence model of panels has more. Beyond, making the model takes hours, or no memory holds it.
MAX_LAYERS = 1000
MAX_BYTES = 2**40

# How often each task is drawn in pretraining, among those that a page can serve.
DEFAULT_TASK_WEIGHTS = {task.name: task.sampling_weight for task in TASKS.values()}


@auto_docstring(checkpoint="org/comicseq")
@strict
class ComicSeqConfig(PreTrainedConfig):
    r"""
    streams (`str`, *optional*, defaults to `"fused"`):
        What a panel is to the encoder. `"fused"`: one token, of one vector that holds picture and text. `"separate"`: two
        tokens at one position, its picture and its text, whose vectors stand side by side in the panel vector (picture
        first); a half of zeros is no token. Their states are merged to one a panel after the layers.
    panel_embedding_dim (`int`, *optional*, defaults to 512):
        Width P of the panel vectors. A projection of fused ones to `hidden_size` exists only where the two widths differ.
        With separate streams it is the sum of `visual_embedding_dim` and `text_embedding_dim`.
    position_base (`float`, *optional*, defaults to 10):
        The longest wavelength of the sinusoidal positions, over 2 pi. 10 spreads all wavelengths over pages of up to 32
        panels. Under 10000, which is usual for texts of thousands of tokens and the value of imported checkpoints,
        neighbouring panels have nearly the same position, and to attend to a neighbour is learned late or never.
    text_embedding_dim (`int`, *optional*):
        Width T of text-only panel vectors. Defaults to `panel_embedding_dim`; with separate streams to what
        `visual_embedding_dim` leaves of it, half where neither is given.
    visual_embedding_dim (`int`, *optional*):
        Width V of picture-only panel vectors. Defaults likewise.
    caption_embedding_dim (`int`, *optional*):
        Width C of caption vectors. Defaults to `panel_embedding_dim`, with separate streams to `text_embedding_dim`.
    input_scale (`float`, *optional*):
        Factor on every input vector. By default each vector is normalised to a root mean square of 1, which keeps
        panels and sinusoidal positions at the same magnitude whatever the norm of the stored vectors is. 1.0 is the
        identity.
    box_embedding (`bool`, *optional*, defaults to `False`):
        Whether the model can be told where panels stand on the page (`panel_boxes`).
    box_relation_layers (`int`, *optional*, defaults to 0):
        Layers of the head for reading order in which the boxes of every two panels are compared, where they are given.
    show_asked_box (`bool`, *optional*, defaults to `False`):
        Whether the box of a panel that was taken out is shown. Its shape and its place say something of what stood in it.
    candidate_encoding (`str`, *optional*, defaults to `"joint"`):
        `"joint"` encodes candidates together with the sequence: each attends to the context and to itself, the context
        attends to no candidate. `"independent"` scores projected candidates that the encoder has not read.
    similarity_term (`bool`, *optional*, defaults to `True`):
        Whether to add learned, scaled cosines of context and candidate to the scores of the multiple-choice heads.
    input_similarity (`bool`, *optional*, defaults to `False`):
        Whether panel picking, closures and character coherence also add a weighted sum of plain cosines of the vectors that
        went in. It pays where the encoder of these learns with the model, as then they tell likeness best.
    strip_pooling (`str`, *optional*, defaults to `"query"`):
        What the strip vector is. `"query"`: a learned query's attention over the contextualised panels. `"residual"`: the
        whitened mean of the vectors that went in, to which the query's attention adds what it learns. Pretraining fits the
        whitening on the pages that it trains on.
    contrastive_objective (`str`, *optional*, defaults to `"views"`):
        `"views"`: InfoNCE between the strip vectors of two strips that belong together and are encoded apart, see
        `contrastive_views`.
        `"nt_xent"`: panels of one page against panels of the other pages. `"cohesion"`: cosine of the panels of a page.
    contrastive_views (`str`, *optional*, defaults to `"halves"`):
        What `"views"` are: `"halves"` of a page, or for every second page `"neighbours"`, the page and the one before or after it.
    contrastive_temperature (`float`, *optional*, defaults to 0.07):
        Temperature of the contrastive objective.
    contrastive_weight (`float`, *optional*, defaults to 0.5):
        Weight of the contrastive loss beside the mean loss of the tasks.
    masked_panel_weight (`float`, *optional*, defaults to 0.0):
        Weight of masked panel modelling beside the mean loss of the tasks; 0 leaves it and its head out.
    reading_order_weight (`float`, *optional*, defaults to 0.3):
        Factor on the loss of a reading-order example. Every other example counts 1.
    reading_order_target (`str`, *optional*, defaults to `"adjacency"`):
        What entry (i, j) of the reading-order matrix says: `"adjacency"`, panel j is the next after panel i;
        `"precedence"`, panel j comes anywhere after panel i.
    task_weights (`dict[str, float]`, *optional*):
        Sampling weight of each task in pretraining; 0 switches a task off.

    Example:

    ```python
    >>> from modeling_comicseq import ComicSeqConfig, ComicSeqModel

    >>> configuration = ComicSeqConfig()
    >>> model = ComicSeqModel(configuration)
    >>> configuration = model.config
    ```"""

    model_type = "comicseq"
    base_config_key = "sequence_config"  # where a page model has it

    hidden_size: int = 512
    num_hidden_layers: int = 6
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.1
    attention_probs_dropout_prob: float | int = 0.1
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    max_position_embeddings: int = 32
    position_base: float | int = 10
    streams: str = "fused"
    panel_embedding_dim: int = 512
    text_embedding_dim: int | None = None
    visual_embedding_dim: int | None = None
    caption_embedding_dim: int | None = None
    input_scale: float | int | None = None
    box_embedding: bool = False
    box_relation_layers: int = 0
    show_asked_box: bool = False
    candidate_encoding: str = "joint"
    similarity_term: bool = True
    input_similarity: bool = False
    strip_pooling: str = "query"
    contrastive_objective: str = "views"
    contrastive_views: str = "halves"
    contrastive_temperature: float | int = 0.07
    contrastive_weight: float | int = 0.5
    masked_panel_weight: float | int = 0.0
    reading_order_weight: float | int = 0.3
    reading_order_target: str = "adjacency"
    task_weights: dict[str, float | int] | None = None

    def __post_init__(self, **kwargs):
        if self.has_streams:
            self.fill_in_widths()
        for field in ("text_embedding_dim", "visual_embedding_dim", "caption_embedding_dim"):
            if getattr(self, field) is None:
                setattr(self, field, self.panel_embedding_dim)
        if self.task_weights is None:
            self.task_weights = dict(DEFAULT_TASK_WEIGHTS)
        self.check_library_fields(kwargs)
        if self.is_installed:
            kwargs.pop("custom_pipelines", None)  # the package registers its pipelines itself
        super().__post_init__(**kwargs)

    @property
    def has_streams(self) -> bool:
        """Whether a panel's picture and text are tokens of their own."""
        return self.streams == "separate"

    def fill_in_widths(self) -> None:
        """Widths that are not given, where picture and text share out that of a panel."""
        if self.visual_embedding_dim is None:
            text = self.panel_embedding_dim // 2 if self.text_embedding_dim is None else self.text_embedding_dim
            self.visual_embedding_dim = self.panel_embedding_dim - text
        if self.text_embedding_dim is None:
            self.text_embedding_dim = self.panel_embedding_dim - self.visual_embedding_dim
        if self.caption_embedding_dim is None:
            self.caption_embedding_dim = self.text_embedding_dim

    @property
    def is_installed(self) -> bool:
        """Whether this code is the installed package's, not a copy that a checkpoint carries."""
        return not __name__.startswith("transformers_modules.")

    def save_pretrained(self, save_directory, **kwargs):
        """Saves the configuration, and `requirements.txt` for those who install what the checkpoint needs from it."""
        super().save_pretrained(save_directory, **kwargs)
        (Path(save_directory) / "requirements.txt").write_text(REQUIREMENTS, encoding="utf-8")

    def check_library_fields(self, others: dict[str, Any]) -> None:
        """Checks what transformers reads of a configuration; `others` are the fields that this class does not declare."""

        def require(field: str, value: Any, is_possible: bool, wanted: str) -> None:
            if not is_possible:
                raise ValueError(f"`{field}` is {value!r} but must be {wanted}.")

        dtype = self.dtype if self.dtype is not None else others.get("torch_dtype")
        known = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
        is_float = isinstance(known, torch.dtype) and known.is_floating_point
        require("dtype", dtype, dtype is None or is_float, "float32, float64, bfloat16 or float16")
        labels, numbers = self.id2label, "a dictionary of numbers and names"
        is_named = isinstance(labels, dict) and all(str(number).isdecimal() for number in labels)
        require("id2label", labels, labels is None or is_named, numbers)
        classes = others.get("architectures", self.architectures)
        is_list = isinstance(classes, list) and all(isinstance(each, str) for each in classes)
        require("architectures", classes, classes is None or is_list, "a list of names of classes")
        for field in ("attn_implementation", "_attn_implementation"):
            if (attention := others.get(field)) is not None:
                from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

                allowed = ["eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()]
                # One with a slash is a kernel on the Hub.
                is_known = attention in allowed or isinstance(attention, str) and "/" in attention
                require(field, attention, is_known, f"one of {', '.join(allowed)}")
        if (quantisation := others.get("quantization_config")) is not None and not hasattr(quantisation, "to_dict"):
            from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as methods

            method = quantisation.get("quant_method") if isinstance(quantisation, dict) else None
            wanted = f"a dictionary whose `quant_method` is one of {', '.join(methods)}"
            require("quantization_config", quantisation, method in methods, wanted)

    @property
    def num_bytes(self) -> int:
        """About how many bytes the weights of the encoder take, told without making them."""
        size, dims = self.hidden_size, [self.panel_embedding_dim, self.text_embedding_dim]
        dims += [self.visual_embedding_dim, self.caption_embedding_dim, self.max_position_embeddings]
        layers = self.num_hidden_layers * (4 * size**2 + 2 * size * self.intermediate_size)
        itemsize = self.dtype.itemsize if isinstance(self.dtype, torch.dtype) else 4
        return (layers + size * sum(dims)) * itemsize

    def validate_architecture(self):
        """Checks every field against what the model can be built with."""

        def require(field: str, is_possible: bool, wanted: str) -> None:
            if not is_possible:
                raise ValueError(f"`{field}` is {getattr(self, field)!r} but must be {wanted}.")

        sizes = ("hidden_size", "num_attention_heads", "intermediate_size", "max_position_embeddings")
        dims = ("panel_embedding_dim", "text_embedding_dim", "visual_embedding_dim", "caption_embedding_dim")
        for field in (*sizes, *dims):
            require(field, getattr(self, field) >= 1, "at least 1")
        embedded = "at least 0, where the heads read the embedded vectors"
        require("num_hidden_layers", self.num_hidden_layers >= 0, embedded)
        for field in ("num_hidden_layers", "box_relation_layers"):
            require(field, getattr(self, field) <= MAX_LAYERS, f"at most {MAX_LAYERS}")
        require("box_relation_layers", self.box_relation_layers >= 0, "at least 0")
        if self.num_bytes > MAX_BYTES:
            sizes = ", ".join(f"`{field}` {getattr(self, field)}" for field in (*sizes, *dims, "num_hidden_layers"))
            raise ValueError(
                f"The weights would take {self.num_bytes / 2**30:,.0f} GiB, more than any memory holds: choose smaller"
                f" sizes than {sizes}."
            )
        heads = self.num_attention_heads
        require("hidden_size", self.hidden_size % heads == 0, f"a multiple of `num_attention_heads`, which is {heads}")
        require("hidden_size", self.hidden_size % 2 == 0, "even: half of it are sines, half cosines of positions")
        for field in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            require(field, 0 <= getattr(self, field) < 1, "at least 0 and below 1")
        for field in ("input_scale", "position_base", "contrastive_temperature", "layer_norm_eps"):
            require(field, getattr(self, field) is None or getattr(self, field) > 0, "above 0")
        for field in ("contrastive_weight", "masked_panel_weight", "reading_order_weight", "initializer_range"):
            require(field, getattr(self, field) >= 0, "at least 0")
        for field in type(self).__annotations__:
            value = getattr(self, field)
            require(field, not isinstance(value, float) or math.isfinite(value), "a finite number")
        choices = {
            "streams": ("fused", "separate"),
            "candidate_encoding": ("joint", "independent"),
            "strip_pooling": ("query", "residual"),
            "contrastive_objective": ("views", "nt_xent", "cohesion"),
            "contrastive_views": ("halves", "neighbours"),
            "reading_order_target": ("adjacency", "precedence"),
            "hidden_act": sorted(ACT2FN),
        }
        for field, allowed in choices.items():
            require(field, getattr(self, field) in allowed, f"one of {', '.join(allowed)}")
        halves = (
            f"`visual_embedding_dim` + `text_embedding_dim`, {self.visual_embedding_dim} + {self.text_embedding_dim}"
        )
        is_sum = self.panel_embedding_dim == self.visual_embedding_dim + self.text_embedding_dim
        require("panel_embedding_dim", is_sum or not self.has_streams, f"{halves}, where `streams` are separate")
        for task, weight in self.task_weights.items():
            if task not in TASKS:
                raise ValueError(
                    f"`task_weights` names the task {task!r} but tasks are {', '.join(TASKS)}. A task from outside is"
                    " known to the installed package once the module that calls `register_task` is imported: import it,"
                    " and load the checkpoint without `trust_remote_code`."
                )
            if not 0 <= weight < math.inf:
                raise ValueError(f"`task_weights[{task!r}]` is {weight} but must be at least 0 and finite.")


# Saved checkpoints carry this file and name it in their `auto_map`.
ComicSeqConfig.register_for_auto_class()

__all__ = ["DEFAULT_TASK_WEIGHTS", "ComicSeqConfig"]
