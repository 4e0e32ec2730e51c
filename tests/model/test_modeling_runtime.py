"""Compilation, export, gradient checkpointing, half precision: what users switch on around the model."""

import pytest
import torch
from torch.testing import assert_close

from tests.model_inputs import CLASSES, TASKS, boxed_config, build, example, tiny_config


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()


def numbers(outputs) -> list[torch.Tensor]:
    tensors = (outputs.get("loss"), outputs.get("logits"), outputs.get("pooler_output"))
    return [tensor for tensor in tensors if tensor is not None]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["encoder", "panel_picking", pytest.param("pretraining", marks=pytest.mark.thorough)])
def test_one_graph_forward_and_backward(name):
    """`fullgraph=True` refuses every break; pretraining holds all tasks. Kernels have their own test."""
    config = boxed_config(num_hidden_layers=1)
    model, inputs = build(name, config), example(name, config)
    expected = model(**inputs)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    actual = compiled(**inputs)
    for one, other in zip(numbers(actual), numbers(expected), strict=True):
        assert_close(one, other)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = [
        torch.autograd.grad(numbers(outputs)[0].sum(), parameters, allow_unused=True) for outputs in (actual, expected)
    ]
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.thorough
def test_compiled_kernels():
    """The default compiler on panel picking with joint candidates, which holds the encoder and both kinds of masks."""
    model, inputs = build("panel_picking", tiny_config(num_hidden_layers=1)), example("panel_picking")
    with torch.no_grad():
        expected = model(**inputs)
        actual = torch.compile(model, fullgraph=True)(**inputs)
    assert_close(actual.logits, expected.logits)
    assert_close(actual.loss, expected.loss)


def second_axis(key: str) -> str | None:
    """What the second axis of an input counts, if that is free."""
    if key.startswith("candidate_"):
        return "num_candidates"
    of_panels = ("panel_embeddings", "panel_boxes", "attention_mask", "text_embeddings")
    return "num_panels" if key in of_panels else None


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "encoder",
        "panel_picking",
        *(pytest.param(task, marks=pytest.mark.thorough) for task in TASKS if task != "panel_picking"),
    ],
)
def test_export(name):
    """The exported program serves other numbers of pages, panels and candidates than the example's."""
    model, inputs = build(name, boxed_config()), example(name, boxed_config())
    inputs.pop("labels", None)
    axes = {axis: torch.export.Dim(axis) for axis in ("batch_size", "num_candidates")}
    axes["num_panels"] = torch.export.Dim("num_panels", max=model.config.max_position_embeddings)

    def free_axes(key):
        return {0: axes["batch_size"]} | ({1: axes[second_axis(key)]} if second_axis(key) else {})

    def with_padding(key, value):
        if second_axis(key) is None:
            return value
        fill = torch.nan if value.is_floating_point() else 0
        return torch.cat((value, value.new_full((len(value), 3, *value.shape[2:]), fill)), dim=1)

    with torch.no_grad():
        shapes = {key: free_axes(key) for key in inputs}
        program = torch.export.export(model, (), inputs, dynamic_shapes=shapes, strict=False)
        for others in (example(name, boxed_config(), 5, batch_size=6), example(name, boxed_config(), 6, batch_size=1)):
            others = {key: with_padding(key, value) for key, value in others.items() if key != "labels"}
            expected, actual = model(**others), program.module()(**others)
            for one, other in zip(numbers(actual), numbers(expected), strict=True):
                assert_close(one, other)


@pytest.mark.parametrize("norm", [0.2, 1.0, 16.0])
def test_the_guard_of_the_input_scale_leaves_vectors_as_they_are(norm):
    """Bit for bit what an epsilon of 1e-12 under the root gave: it only counts where there is no vector."""
    vectors = torch.nn.functional.normalize(torch.randn(64, 512), dim=-1) * norm
    projection = build("encoder", tiny_config(panel_embedding_dim=512, hidden_size=512)).embeddings.panel_projection
    scale = torch.rsqrt(vectors.pow(2).mean(-1, keepdim=True) + 1e-12)
    assert torch.equal(projection(vectors, torch.float32), vectors * scale)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TASKS, "pretraining"])
def test_gradient_checkpointing_gives_equal_gradients(name):
    config = boxed_config(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    gradients = []
    for checkpointing in (False, True):
        model = build(name, config).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert model.is_gradient_checkpointing
        torch.manual_seed(3)
        model(**example(name, config)).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for parameter, gradient in gradients[0].items():
        assert_close(gradients[1][parameter], gradient)


def test_checkpointing_trains_a_head_on_a_frozen_encoder():
    """As adapters need it: with frozen inputs the gradient still reaches what is trained inside the layers."""
    model, inputs = build("panel_picking").train(), example("panel_picking")
    model.requires_grad_(False)
    trained = model.comicseq.layers[0].attention.v_proj.weight.requires_grad_()
    model.gradient_checkpointing_enable({"use_reentrant": True})
    model.enable_input_require_grads()
    model(**inputs).loss.backward()
    assert trained.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", CLASSES)
def test_half_precision(name, attention, dtype):
    """Half-precision weights and inputs give finite numbers near the single-precision ones."""
    single, half = build(name, boxed_config(), attention), build(name, boxed_config(), attention).to(dtype)
    examples = [
        example(name, boxed_config(), seed) for seed in range(1, 4)
    ]  # one example's loss can be near 0 by luck
    with torch.no_grad():
        expected = [numbers(single(**inputs)) for inputs in examples]
        actual = [numbers(half(**in_dtype(inputs, dtype))) for inputs in examples]
    for ones, others in zip(zip(*actual, strict=True), zip(*expected, strict=True), strict=True):
        one, other = torch.stack(ones), torch.stack(others)
        counted = (other > torch.finfo(other.dtype).min) & (one.float() > torch.finfo(dtype).min)
        assert one.isfinite().all() and counted.any()
        if counted.ndim == 4:  # scores of padded panels mean nothing
            counted = torch.stack([inputs["labels"] for inputs in examples]) != -100
        error = (one.float() - other)[counted].norm() / other[counted].norm()
        assert error < {torch.float16: 0.01, torch.bfloat16: 0.06}[dtype]


def test_half_precision_without_a_surrounding_text():
    """A page of one panel: the mean of the other texts is zeros, whose length half precision cannot divide by."""
    inputs = example("text_cloze")
    alone = torch.arange(inputs["attention_mask"].shape[1]) == inputs["mask_position"][:, None]
    inputs["attention_mask"] = alone.to(inputs["attention_mask"].dtype)
    with torch.no_grad():
        logits = build("text_cloze").half()(**in_dtype(inputs, torch.float16)).logits
    assert logits.isfinite().all()


def in_dtype(value, dtype):
    if isinstance(value, dict):
        return {key: in_dtype(item, dtype) for key, item in value.items()}
    return value.to(dtype) if value.is_floating_point() else value


@pytest.mark.parametrize("name", CLASSES)
def test_double_precision(name, tmp_path):
    """Double-precision weights give what single precision gives, in their own dtype, however they are made."""
    single = build(name, boxed_config())
    single.save_pretrained(tmp_path)
    loaded = CLASSES[name].from_pretrained(tmp_path, dtype=torch.float64).eval()
    inputs = example(name, boxed_config())
    with torch.no_grad():
        expected, converted = numbers(single(**inputs)), numbers(single.double()(**in_dtype(inputs, torch.float64)))
        actual = numbers(loaded(**inputs))  # vectors of any precision are read in the model's own
    for one, other, another in zip(actual, expected, converted, strict=True):
        assert one.dtype == another.dtype == torch.float64
        counted = other > torch.finfo(other.dtype).min
        assert_close(one[counted].float(), other[counted])
        assert_close(one[counted], another[counted])


@pytest.mark.parametrize("name", ["encoder", *TASKS, pytest.param("pretraining", marks=pytest.mark.slow)])
def test_gradients_of_every_loss_are_right(name):
    """Against differences in double precision, with respect to every weight and every vector."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    model = build(name, boxed_config(**sizes, masked_panel_weight=0.5)).double().train()
    inputs, vectors = in_dtype(example(name, model.config), torch.float64), []

    def take_vectors(values):
        for key, value in values.items():
            if isinstance(value, dict):
                take_vectors(value)
            elif value.is_floating_point():
                known = value.any(-1, keepdim=True)  # where a box is not known, there is no slope
                values[key] = torch.where(known, value, torch.full_like(value, 0.2).cumsum(-1)).requires_grad_()
                vectors.append(values[key])

    def loss(*_):
        outputs = model(**inputs)
        return outputs.pooler_output.square().sum() if name == "encoder" else outputs.loss

    take_vectors(inputs)
    weights = [weight for weight in model.parameters() if weight.numel()]
    reached = torch.autograd.grad(loss(), [*vectors, *weights], allow_unused=True)
    checked = [each for each, gradient in zip([*vectors, *weights], reached, strict=True) if gradient is not None]
    assert len(checked) >= len(vectors) + len(weights) // 2
    assert torch.autograd.gradcheck(loss, checked, fast_mode=True)


@pytest.mark.parametrize("name", ["panel_picking", "pretraining"])
def test_autocast(name):
    """Mixed precision: gradients are finite and near those of single precision."""
    model, inputs = build(name, boxed_config()).train(), example(name, boxed_config())
    model(**inputs).loss.backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(**inputs).loss
    assert loss.dtype == torch.float32
    loss.backward()
    actual = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert actual.isfinite().all()
    assert torch.cosine_similarity(actual, expected, dim=0) > 0.99


@pytest.mark.parametrize("name", ["encoder", "panel_picking", "pretraining"])
def test_plain_tuples(name):
    model, inputs = build(name), example(name)
    with torch.no_grad():
        outputs, values = model(**inputs), model(**inputs, return_dict=False)
    assert isinstance(values, tuple) and torch.equal(values[0], outputs.to_tuple()[0])
