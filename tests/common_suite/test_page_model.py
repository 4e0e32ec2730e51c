"""transformers' own common model and configuration tests, run against the page model."""

import copy
import sys
import unittest

import pytest
import torch
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from modeling_comicseq import ComicPageConfig, ComicPageModel
from tests.common_suite import hf_common
from tests.page_inputs import panel_config, sequence_config

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

MODEL_MAPPING_NAMES["comicpage"] = "ComicPageModel"
pytestmark = pytest.mark.slow


class ModelTester:
    """What the suite asks about a model: its sizes, a configuration, and the main inputs."""

    batch_size = 4
    is_training = True
    seq_length = 1
    hidden_size, num_hidden_layers, num_attention_heads = 32, 2, 4

    def get_config(self) -> ComicPageConfig:
        sequence = sequence_config(architectures=["ComicSeqModel"])
        return ComicPageConfig(panel_config=panel_config(), sequence_config=sequence)

    def prepare_config_and_inputs_for_common(self) -> tuple[ComicPageConfig, dict]:
        generator = torch.Generator().manual_seed(0)
        inputs = {
            "pixel_values": torch.randn(self.batch_size, 3, 32, 32, generator=generator),
            "input_ids": torch.randint(5, 20, (self.batch_size, 6), generator=generator),
            "panel_index": torch.arange(self.batch_size)[:, None],  # pages of one panel: a row of each input is a page
        }
        return self.get_config(), inputs


class PageModelTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (ComicPageModel,)
    test_resize_embeddings = False
    test_all_params_have_gradient = False  # there is no loss
    test_bc_torch_dtype = None  # many loadings in every precision, which the classes inside go through themselves

    def setUp(self):
        self.model_tester = ModelTester()

    # Overridden: the suite asks for an `nn.Embedding`; what reads the panels' vectors is a projection.
    def test_model_get_set_embeddings(self):
        model = ComicPageModel(self.model_tester.get_config())
        self.assertIs(model.get_input_embeddings(), model.sequence_encoder.embeddings.panel_projection)
        other = copy.deepcopy(model.get_input_embeddings())
        model.set_input_embeddings(other)
        self.assertIs(model.sequence_encoder.embeddings.panel_projection, other)


class ConfigurationTest(unittest.TestCase):
    def test_config(self):
        tester = ConfigTester(self, config_class=ComicPageConfig, has_text_modality=False, common_properties=[])
        tester.run_common_tests()
