"""transformers' own common model and configuration tests, run against every class of the package."""

import copy
import sys
import unittest

import pytest
import torch
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from modeling_comicseq import ComicSeqConfig
from tests.common_suite import hf_common
from tests.model_inputs import CLASSES, TASKS, boxed_config, example, tiny_config

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

MODEL_MAPPING_NAMES["comicseq"] = "ComicSeqModel"  # tells the suite which class has no loss
pytestmark = pytest.mark.slow


class ModelTester:
    """What the suite asks about a model: its sizes, a configuration, and the main inputs."""

    batch_size = 5
    is_training = True
    num_panels = 5
    num_candidates = 4

    def __init__(self, parent: unittest.TestCase, name: str):
        self.parent = parent
        self.name = name
        config = self.get_config()
        self.hidden_size = config.hidden_size
        self.num_hidden_layers = config.num_hidden_layers
        self.num_attention_heads = config.num_attention_heads
        # Joint candidates are tokens as panels are.
        panels = 1 if name == "caption_relevance" else self.num_panels
        has_candidates = name not in ("encoder", "reading_order")
        self.seq_length = panels + (self.num_candidates if has_candidates else 0)

    def get_config(self) -> ComicSeqConfig:
        make = boxed_config if self.name in ("encoder", "reading_order") else tiny_config
        return make(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)

    def prepare_config_and_inputs_for_common(self) -> tuple[ComicSeqConfig, dict]:
        config = self.get_config()
        inputs = example(self.name, config, batch_size=self.batch_size)
        names = ("caption_embeddings",) if self.name == "caption_relevance" else ("panel_embeddings", "attention_mask")
        return config, {name: inputs[name] for name in names}


class CommonTests(ModelTesterMixin):
    """The suite on one class, `name`. It hands over the main inputs; the others are added for each class."""

    name: str
    test_resize_embeddings = False  # there is no vocabulary

    def setUp(self):
        self.all_model_classes = (CLASSES[self.name],)
        self.model_tester = ModelTester(self, self.name)
        # The encoder alone has no loss, and the suite masks no panel.
        self.test_all_params_have_gradient = self.name != "encoder"

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = copy.deepcopy(inputs_dict)
        main_input = inputs[model_class.main_input_name]
        added = example(self.name, self.model_tester.get_config(), batch_size=len(main_input))
        if not return_labels:
            added.pop("labels", None)
            for task in TASKS.keys() & added.keys():
                added[task].pop("labels")
        added = {
            name: value.to(main_input.dtype) if torch.is_tensor(value) and value.is_floating_point() else value
            for name, value in added.items()
        }
        return {**added, **inputs}

    # Overridden: the suite asks for an `nn.Embedding`, but panels are vectors already; what reads them is a projection.
    def test_model_get_set_embeddings(self):
        (model_class,) = self.all_model_classes
        model = model_class(self.model_tester.get_config())
        encoder = getattr(model, model.base_model_prefix, model)
        self.assertIs(model.get_input_embeddings(), encoder.embeddings.panel_projection)
        other = copy.deepcopy(encoder.embeddings.panel_projection)
        model.set_input_embeddings(other)
        self.assertIs(encoder.embeddings.panel_projection, other)
        self.assertIsNone(model.get_output_embeddings())


class EncoderTest(CommonTests, unittest.TestCase):
    name = "encoder"


class PreTrainingTest(CommonTests, unittest.TestCase):
    name = "pretraining"

    # Overridden: the suite compares the first rows of all hidden states, but those of pretraining hold the rows of the
    # strips and of each task after each other, and it takes one row of tensors, not of the dictionaries of the tasks.
    def test_batching_equivalence(self):
        def first_row(inputs):
            return {name: first_row(value) if isinstance(value, dict) else value[:1] for name, value in inputs.items()}

        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = CLASSES[self.name](config).eval()
        inputs = self._prepare_for_class(inputs, CLASSES[self.name])
        with torch.no_grad():
            batched, single = model(**inputs), model(**first_row(inputs))
        torch.testing.assert_close(batched.pooler_output[:1], single.pooler_output)
        self.assertEqual(set(batched.task_logits), set(TASKS))
        for task in TASKS:
            torch.testing.assert_close(batched.task_logits[task][:1], single.task_logits[task])


class PanelPickingTest(CommonTests, unittest.TestCase):
    name = "panel_picking"


# Of classes that share all but a head with the one above, the suite is run by `make test-all`.
@pytest.mark.thorough
class CharacterCoherenceTest(CommonTests, unittest.TestCase):
    name = "character_coherence"


@pytest.mark.thorough
class VisualClosureTest(CommonTests, unittest.TestCase):
    name = "visual_closure"


@pytest.mark.thorough
class TextClosureTest(CommonTests, unittest.TestCase):
    name = "text_closure"


class CaptionRelevanceTest(CommonTests, unittest.TestCase):
    name = "caption_relevance"


class TextClozeTest(CommonTests, unittest.TestCase):
    name = "text_cloze"


class ReadingOrderTest(CommonTests, unittest.TestCase):
    name = "reading_order"


class ConfigurationTest(unittest.TestCase):
    def test_config(self):
        tester = ConfigTester(
            self, config_class=ComicSeqConfig, has_text_modality=False, hidden_size=36, num_attention_heads=6
        )
        tester.run_common_tests()
