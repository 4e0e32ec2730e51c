"""transformers' own common model and configuration tests, run against the panel encoder and EfficientNet-Lite."""

import sys
import unittest

import pytest
import torch
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from modeling_comicseq import ComicPanelConfig, ComicPanelModel, EfficientNetLiteConfig, EfficientNetLiteModel
from tests.common_suite import hf_common
from tests.model.test_modeling_efficientnet_lite import SMALL
from tests.tiny_encoders import panel_config, panel_inputs

pytest.importorskip("parameterized", reason="transformers' common tests need the package parameterized")
try:
    sys.path.insert(0, str(hf_common.suite_folder()))
except hf_common.Unreachable as error:
    pytest.skip(
        f"transformers' common tests come from its source distribution, which could not be downloaded: {error}",
        allow_module_level=True,
    )

from hf_tests.test_configuration_common import ConfigTester  # noqa: E402
from hf_tests.test_modeling_common import ModelTesterMixin  # noqa: E402

# Tells the suite which classes have no loss.
MODEL_MAPPING_NAMES |= {"comicpanel": "ComicPanelModel", "efficientnet_lite": "EfficientNetLiteModel"}
pytestmark = pytest.mark.slow


class LiteTester:
    """What the suite asks about EfficientNet-Lite."""

    batch_size, is_training, num_hidden_layers, hidden_size = 3, True, 2, 20

    def get_config(self):
        return EfficientNetLiteConfig(**SMALL | {"num_block_repeats": [1, 1]}, image_size=32)

    def prepare_config_and_inputs_for_common(self):
        return self.get_config(), {"pixel_values": torch.randn(self.batch_size, 3, 32, 32)}


class PanelTester:
    """What the suite asks about the panel encoder."""

    batch_size, is_training, num_hidden_layers, hidden_size, seq_length, num_attention_heads = 3, True, 2, 8, 5, 2

    def get_config(self):
        return panel_config()

    def prepare_config_and_inputs_for_common(self):
        inputs = panel_inputs(self.batch_size)
        inputs["attention_mask"] = torch.ones_like(inputs["attention_mask"])
        return self.get_config(), inputs


class CommonTests(ModelTesterMixin):
    test_resize_embeddings = False
    has_attentions = False

    # Overridden: the suite asks for an `nn.Embedding`, and for hidden states of tokens. What there is of either is tested
    # with the models.
    test_model_get_set_embeddings = None
    test_hidden_states_output = None


class EfficientNetLiteTest(CommonTests, unittest.TestCase):
    all_model_classes = (EfficientNetLiteModel,)

    def setUp(self):
        self.model_tester = LiteTester()

    def test_config(self):
        tester = ConfigTester(
            self, config_class=EfficientNetLiteConfig, has_text_modality=False, common_properties=["hidden_size"]
        )
        tester.run_common_tests()


class PanelEncoderTest(CommonTests, unittest.TestCase):
    all_model_classes = (ComicPanelModel,)

    # Overridden: vectors of one modality are a tensor here, not an output with hidden states of the half.
    test_get_image_features_output_0 = test_get_image_features_output_1 = test_get_image_features_output_2 = None
    test_get_text_features_output_0 = test_get_text_features_output_1 = test_get_text_features_output_2 = None
    test_get_image_features_hidden_states = test_get_text_features_hidden_states = None
    test_retain_grad_hidden_states_attentions = None

    def setUp(self):
        self.model_tester = PanelTester()

    def test_config(self):
        tester = ConfigTester(self, config_class=ComicPanelConfig, has_text_modality=False, common_properties=[])
        tester.run_common_tests()
