"""Registers the classes with transformers: Auto classes and pipelines load checkpoints without `trust_remote_code`."""

from transformers import AutoConfig, AutoModel, AutoModelForPreTraining, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from .layouts.predictor import PREDICTOR
from .model import (
    modeling_comicpage,
    modeling_comicpanel,
    modeling_comicseq,
    modeling_efficientnet_lite,
    processing_comicpanel,
)
from .model.configuration_comicpage import ComicPageConfig
from .model.configuration_comicpanel import ComicPanelConfig
from .model.configuration_comicseq import ComicSeqConfig
from .model.configuration_efficientnet_lite import EfficientNetLiteConfig
from .model.pipeline_comicseq import register_pipeline
from .model.tasks_comicseq import READING_ORDER, STRIP_EMBEDDING

AutoConfig.register("comicseq", ComicSeqConfig)
AutoModel.register(ComicSeqConfig, modeling_comicseq.ComicSeqModel)
AutoModelForPreTraining.register(ComicSeqConfig, modeling_comicseq.ComicSeqForPreTraining)
AutoConfig.register("efficientnet_lite", EfficientNetLiteConfig)
AutoModel.register(EfficientNetLiteConfig, modeling_efficientnet_lite.EfficientNetLiteModel)
AutoConfig.register("comicpanel", ComicPanelConfig)
AutoModel.register(ComicPanelConfig, modeling_comicpanel.ComicPanelModel)
AutoProcessor.register(ComicPanelConfig, processing_comicpanel.ComicPanelProcessor)
AutoConfig.register("comicpage", ComicPageConfig)
AutoModel.register(ComicPageConfig, modeling_comicpage.ComicPageModel)
AutoModelForPreTraining.register(ComicPageConfig, modeling_comicpage.ComicPageForPreTraining)
AutoProcessor.register(ComicPageConfig, processing_comicpanel.ComicPanelProcessor)
register_pipeline(STRIP_EMBEDDING, modeling_comicseq.ComicSeqModel)
for model_class in modeling_comicseq.TASK_CLASSES.values():
    modeling_comicseq.register_task(model_class)
# Where no checkpoint is named: the predictor that comes with the package, which reads boxes.
PIPELINE_REGISTRY.supported_tasks[READING_ORDER.pipeline]["default"] = {"model": (str(PREDICTOR), "main")}
