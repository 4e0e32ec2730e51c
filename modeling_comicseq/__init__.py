"""ComicSeq: comics as sequences of panels.

Importing the package registers its classes with the Auto classes and pipelines of transformers, so that checkpoints load
without `trust_remote_code`.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import moved  # noqa: F401

if TYPE_CHECKING:
    from .layouts.predictor import order_panels
    from .model.configuration_comicpage import ComicPageConfig
    from .model.configuration_comicpanel import ComicPanelConfig
    from .model.configuration_comicseq import ComicSeqConfig
    from .model.configuration_efficientnet_lite import EfficientNetLiteConfig
    from .model.modeling_comicpage import ComicPageForPreTraining, ComicPageModel, ComicPagePreTrainedModel
    from .model.modeling_comicpanel import ComicPanelModel, ComicPanelPreTrainedModel
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
    from .model.modeling_efficientnet_lite import EfficientNetLiteModel
    from .model.processing_comicpanel import ComicPanelProcessor

__all__ = [
    "ComicPageConfig",
    "ComicPageForPreTraining",
    "ComicPageModel",
    "ComicPagePreTrainedModel",
    "ComicPanelConfig",
    "ComicPanelModel",
    "ComicPanelPreTrainedModel",
    "ComicPanelProcessor",
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
    "EfficientNetLiteConfig",
    "EfficientNetLiteModel",
    "order_panels",
]


def __getattr__(name: str) -> Any:
    """The classes, which are imported and registered with the first of them that is asked for, and `order_panels`."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "order_panels":
        from .layouts.predictor import order_panels

        return order_panels
    from . import registration

    modules = [value for value in vars(registration).values() if isinstance(value, ModuleType)]
    return next(getattr(module, name) for module in modules if hasattr(module, name))


def __dir__() -> list[str]:
    """Also what is not imported yet."""
    return sorted({*globals(), *__all__})


# Whoever imports the package may go on with `AutoModel` or `pipeline` and no name of it, so everything is registered at
# once. It takes seconds, as it imports torch: the command line asks for what a command needs, and prints its help at once.
if Path(sys.argv[0] if sys.argv else "").stem != "comicseq":
    from . import registration  # noqa: F401
