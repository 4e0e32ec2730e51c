"""Registers the classes with transformers: Auto classes and pipelines load checkpoints without `trust_remote_code`."""

from transformers import AutoConfig, AutoModel, AutoModelForPreTraining

from .model.configuration_comicseq import ComicSeqConfig
from .model.modeling_comicseq import (
    TASK_CLASSES,
    ComicSeqForCaptionRelevance,
    ComicSeqForCharacterCoherence,
    ComicSeqForPanelPicking,
    ComicSeqForPreTraining,
    ComicSeqForReadingOrder,
    ComicSeqForTextClosure,
    ComicSeqForTextCloze,
    ComicSeqForVisualClosure,
    ComicSeqModel,
    ComicSeqPreTrainedModel,
    register_task,
)
from .model.pipeline_comicseq import register_pipeline
from .model.tasks_comicseq import STRIP_EMBEDDING

AutoConfig.register("comicseq", ComicSeqConfig)
AutoModel.register(ComicSeqConfig, ComicSeqModel)
AutoModelForPreTraining.register(ComicSeqConfig, ComicSeqForPreTraining)
register_pipeline(STRIP_EMBEDDING, ComicSeqModel)
for model_class in TASK_CLASSES.values():
    register_task(model_class)

__all__ = [
    "ComicSeqConfig",
    "ComicSeqForCaptionRelevance",
    "ComicSeqForCharacterCoherence",
    "ComicSeqForPanelPicking",
    "ComicSeqForPreTraining",
    "ComicSeqForReadingOrder",
    "ComicSeqForTextCloze",
    "ComicSeqForTextClosure",
    "ComicSeqForVisualClosure",
    "ComicSeqModel",
    "ComicSeqPreTrainedModel",
]
