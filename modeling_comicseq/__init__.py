"""ComicSeq: comics as sequences of panels.

Importing the package registers its classes with the Auto classes of transformers, so that checkpoints load without
`trust_remote_code`.
"""

from transformers import AutoConfig, AutoModel, AutoModelForMultipleChoice, AutoModelForPreTraining

from .configuration_comicseq import ComicSeqConfig
from .modeling_comicseq import (
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
