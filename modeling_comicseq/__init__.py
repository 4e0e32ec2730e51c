"""ComicSeq: comics as sequences of panels.

Importing the package registers its classes with the Auto classes of transformers, so that checkpoints load without
`trust_remote_code`.
"""

from transformers import AutoConfig, AutoModel, AutoModelForMultipleChoice, AutoModelForPreTraining
from transformers.pipelines import PIPELINE_REGISTRY

from .model import modeling_comicseq
from .model.configuration_comicseq import ComicSeqConfig
from .model.modeling_comicseq import (
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
)
from .model.pipeline_comicseq import TASK_MODELS, pipeline_class

AutoConfig.register("comicseq", ComicSeqConfig)
AutoModel.register(ComicSeqConfig, ComicSeqModel)
AutoModelForPreTraining.register(ComicSeqConfig, ComicSeqForPreTraining)
# Several classes for one configuration: the checkpoint's `architectures` says which, panel picking is the default.
AutoModelForMultipleChoice.register(
    ComicSeqConfig,
    (
        ComicSeqForPanelPicking,
        ComicSeqForCharacterCoherence,
        ComicSeqForVisualClosure,
        ComicSeqForTextClosure,
        ComicSeqForCaptionRelevance,
        ComicSeqForTextCloze,
    ),
)
for task, model_class in TASK_MODELS.items():
    PIPELINE_REGISTRY.register_pipeline(
        task, pipeline_class=pipeline_class(task), pt_model=getattr(modeling_comicseq, model_class)
    )

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
