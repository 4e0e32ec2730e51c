"""The configuration: defaults, round trips, and what it refuses."""

import json
import math
import os

import pytest
from huggingface_hub.errors import StrictDataclassError

from modeling_comicseq import ComicSeqConfig, ComicSeqModel
from modeling_comicseq.checkpoints.opening import read_config
from modeling_comicseq.errors import ComicSeqArgumentError


def refusal(**fields) -> str:
    """The sentence with which a configuration is refused; transformers wraps it into its own error."""
    with pytest.raises(StrictDataclassError) as error:
        ComicSeqConfig(**fields)
    assert isinstance(error.value.__cause__, ValueError)
    return str(error.value.__cause__)


def test_defaults():
    config = ComicSeqConfig()
    assert (config.panel_embedding_dim, config.hidden_size, config.num_hidden_layers) == (512, 512, 6)
    assert (config.num_attention_heads, config.intermediate_size, config.hidden_dropout_prob) == (8, 2048, 0.1)
    assert (config.max_position_embeddings, config.candidate_encoding) == (32, "joint")
    assert (config.contrastive_objective, config.contrastive_temperature) == ("views", 0.07)
    assert (config.contrastive_weight, config.reading_order_weight) == (0.5, 0.3)
    assert config.reading_order_target == "adjacency"
    assert config.task_weights == {
        "panel_picking": 1.0,
        "character_coherence": 0.5,
        "visual_closure": 0.8,
        "text_closure": 0.8,
        "caption_relevance": 0.5,
        "text_cloze": 1.0,
        "reading_order": 0.7,
    }


def test_other_modalities_default_to_the_panel_width():
    config = ComicSeqConfig(panel_embedding_dim=384, text_embedding_dim=100)
    widths = config.text_embedding_dim, config.visual_embedding_dim, config.caption_embedding_dim
    assert widths == (100, 384, 384)


def test_task_weights_are_not_shared():
    ComicSeqConfig().task_weights["text_cloze"] = 0.0
    assert ComicSeqConfig().task_weights["text_cloze"] == 1.0


def test_every_field_survives_a_file(tmp_path):
    changes = {
        "hidden_size": 48,
        "num_attention_heads": 6,
        "panel_embedding_dim": 40,
        "visual_embedding_dim": 30,
        "input_scale": 2.5,
        "candidate_encoding": "independent",
        "similarity_term": False,
        "contrastive_objective": "nt_xent",
        "contrastive_temperature": 0.2,
        "reading_order_target": "precedence",
        "task_weights": {"panel_picking": 1.0, "text_cloze": 0},
    }
    ComicSeqConfig(**changes).save_pretrained(tmp_path)
    loaded = ComicSeqConfig.from_pretrained(tmp_path)
    assert {field: getattr(loaded, field) for field in changes} == changes
    assert (tmp_path / "configuration_comicseq.py").exists()


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("hidden_size", 0, "at least 1"),
        ("num_hidden_layers", -1, "at least 0"),
        ("intermediate_size", -2, "at least 1"),
        ("max_position_embeddings", 0, "at least 1"),
        ("panel_embedding_dim", 0, "at least 1"),
        ("text_embedding_dim", -1, "at least 1"),
        ("hidden_size", 100, "multiple of `num_attention_heads`, which is 8"),
        ("hidden_dropout_prob", 1.0, "at least 0 and below 1"),
        ("attention_probs_dropout_prob", -0.1, "at least 0 and below 1"),
        ("input_scale", 0, "above 0"),
        ("contrastive_temperature", 0.0, "above 0"),
        ("contrastive_temperature", float("nan"), "above 0"),
        ("layer_norm_eps", -1e-5, "above 0"),
        ("contrastive_weight", -0.5, "at least 0"),
        ("reading_order_weight", -1, "at least 0"),
        ("candidate_encoding", "cross", "joint, independent"),
        ("contrastive_objective", "simclr", "views, nt_xent, cohesion"),
        ("reading_order_target", "next", "adjacency, precedence"),
        ("hidden_act", "gelux", "gelu, "),
    ],
)
def test_refuses(field, value, allowed):
    message = refusal(**{field: value})
    assert f"`{field}` is {value!r}" in message and allowed in message


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("num_hidden_layers", 1_000_000, "at most 1000"),
        ("input_scale", math.inf, "a finite number"),
        ("layer_norm_eps", math.inf, "a finite number"),
        ("position_base", math.inf, "a finite number"),
        ("contrastive_weight", math.inf, "a finite number"),
        ("initializer_range", math.nan, "at least 0"),
        ("dtype", "float99", "float32, float64, bfloat16 or float16"),
        ("dtype", "int8", "float32, float64, bfloat16 or float16"),
        ("dtype", "nn", "float32, float64, bfloat16 or float16"),
        ("id2label", {"first": "a"}, "a dictionary of numbers and names"),
        ("architectures", ["ComicSeqModel", 3], "a list of names"),
        ("attn_implementation", "flush", "one of eager, "),
        ("attn_implementation", 3, "one of eager, "),
        ("quantization_config", {"bits": 4}, "`quant_method` is one of "),
        ("quantization_config", {"quant_method": "half"}, "`quant_method` is one of "),
        ("quantization_config", 4, "`quant_method` is one of "),
    ],
)
def test_refuses_what_no_model_can_be_made_of(field, value, allowed, tmp_path):
    """In one sentence, from the class and from a file."""
    with pytest.raises((ValueError, StrictDataclassError)) as error:
        ComicSeqConfig(**{field: value})
    message = str(error.value.__cause__ or error.value)
    assert f"`{field}` is {value!r} but must be" in message and allowed in message
    (tmp_path / "config.json").write_text(json.dumps({"transformers_version": "5.23.0", field: value}))
    with pytest.raises(ComicSeqArgumentError, match=f"model: .*`{field}` is".replace("model", tmp_path.name)):
        read_config(str(tmp_path))


@pytest.mark.parametrize("field", [name for name, kind in ComicSeqConfig.__annotations__.items() if kind is not bool])
@pytest.mark.parametrize("value", [True, "nan", [1]])
def test_refuses_other_types_in_every_field(field, value):
    with pytest.raises((ValueError, StrictDataclassError), match=field):
        ComicSeqConfig(**{field: value})


@pytest.mark.parametrize(
    "sizes", [{"hidden_size": 2**40}, {"panel_embedding_dim": 10**13}, {"max_position_embeddings": 10**13}]
)
def test_refuses_sizes_that_no_memory_holds(sizes):
    """Before anything is allocated."""
    message = refusal(**sizes)
    assert "The weights would take" in message and f"`{next(iter(sizes))}` {next(iter(sizes.values()))}" in message


def test_refuses_sizes_that_this_machine_does_not_hold(tmp_path):
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    sizes = {"hidden_size": 1024, "num_hidden_layers": 1, "intermediate_size": memory // 8192}
    (tmp_path / "config.json").write_text(json.dumps({"transformers_version": "5.23.0", **sizes}))
    assert ComicSeqConfig(**sizes).num_bytes > memory
    with pytest.raises(ComicSeqArgumentError, match="GiB but this machine has .* choose a smaller `hidden_size`"):
        read_config(str(tmp_path))


def test_the_bytes_of_the_weights_are_estimated():
    config = ComicSeqConfig()
    actual = sum(weight.numel() * 4 for weight in ComicSeqModel(config).parameters())
    assert 0.8 * actual < config.num_bytes < actual


def test_refuses_an_odd_hidden_size():
    assert "`hidden_size` is 9 but must be even" in refusal(hidden_size=9, num_attention_heads=3)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"panel_peeking": 1.0}, "names the task 'panel_peeking' but tasks are panel_picking, "),
        ({"panel_picking": -1.0}, "`task_weights['panel_picking']` is -1.0 but must be at least 0"),
    ],
)
def test_refuses_task_weights(weights, message):
    assert message in refusal(task_weights=weights)


@pytest.mark.parametrize(("field", "value"), [("hidden_size", "512"), ("similarity_term", "yes"), ("hidden_act", 3)])
def test_refuses_a_wrong_type(field, value):
    with pytest.raises(StrictDataclassError, match=field):
        ComicSeqConfig(**{field: value})
