"""Registers the classes with transformers: Auto classes and pipelines load checkpoints without `trust_remote_code`."""

from transformers import AutoConfig, AutoModel, AutoModelForPreTraining
from transformers.pipelines import PIPELINE_REGISTRY

from .layouts.predictor import PREDICTOR
from .model import modeling_comicseq
from .model.configuration_comicseq import ComicSeqConfig
from .model.pipeline_comicseq import register_pipeline
from .model.tasks_comicseq import READING_ORDER, STRIP_EMBEDDING

AutoConfig.register("comicseq", ComicSeqConfig)
AutoModel.register(ComicSeqConfig, modeling_comicseq.ComicSeqModel)
AutoModelForPreTraining.register(ComicSeqConfig, modeling_comicseq.ComicSeqForPreTraining)
register_pipeline(STRIP_EMBEDDING, modeling_comicseq.ComicSeqModel)
for model_class in modeling_comicseq.TASK_CLASSES.values():
    modeling_comicseq.register_task(model_class)
# Where no checkpoint is named: the predictor that comes with the package, which reads boxes.
PIPELINE_REGISTRY.supported_tasks[READING_ORDER.pipeline]["default"] = {"model": (str(PREDICTOR), "main")}
