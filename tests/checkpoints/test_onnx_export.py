"""ONNX files beside the PyTorch classes: every graph, random masks and sizes; and what the command refuses."""

import importlib.util
import json

import onnxruntime
import pytest
import torch
from torch.testing import assert_close
from typer.testing import CliRunner

from modeling_comicseq import ComicSeqConfig
from modeling_comicseq.checkpoints import onnx_export
from modeling_comicseq.checkpoints.export import open_source
from modeling_comicseq.checkpoints.onnx_export import draw, export_onnx, graphs_of, outputs, sizes
from modeling_comicseq.cli import app
from modeling_comicseq.errors import ComicSeqDataError
from tests.model_inputs import CLASSES, TASKS, boxed_config, build, tiny_config
from tests.test_documentation import REPOSITORY, blocks

GRAPHS = [
    "encoder",
    *TASKS,
    "character_coherence_with_candidate_position",
    "reading_order_of_boxes",
    "text_cloze_with_visual_embedding",
    "text_closure_of_text_vectors",
    "visual_closure_of_visual_vectors",
]


# A graph takes some seconds.
FEW = ("encoder", "text_cloze_with_visual_embedding")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    # The exporter takes addends up to 1e-8 for zero: a padded slot, which is all zeros, must not be divided by one.
    config = boxed_config(num_hidden_layers=1, layer_norm_eps=1e-12)
    build("pretraining", config).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n\n# The card\n\n## Use\n\n`AutoModel`\n")
    (folder / "training_provenance.json").write_text('{"origin": {"encoders": "some"}}')
    return folder


@pytest.fixture(scope="module")
def names(request) -> set[str]:
    """The graphs that are made: those that are asked for."""
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    return {*FEW, *(each["name"] for each in params if each.get("name") in GRAPHS)}


@pytest.fixture(scope="module")
def exported(run, names, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_export, "graphs_of", lambda *of: [each for each in graphs_of(*of) if each.name in names])
        result = CliRunner().invoke(app, ["export", str(run), str(folder), "--format", "onnx"])
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 1 and "MB in float32; at most" in result.stdout
    assert "torch.onnx" not in result.output and "Warning" not in result.output and "torchvision" not in result.output
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[] if each in FEW else [pytest.mark.thorough]) for each in GRAPHS]
)
def test_graphs_compute_what_the_classes_do(name, run, exported):
    """For all sizes, one included, and masks with holes; what they leave out is NaN and is not read."""
    graph = {each.name: each for each in graphs_of(open_source(str(run), None))}[name]
    model = CLASSES["encoder" if name == "encoder" else graph.task.name].from_pretrained(run).eval()
    session = onnxruntime.InferenceSession(exported / f"{name}.onnx")
    assert [each.name for each in session.get_inputs()] == list(sizes(graph, model.config))
    assert [each.name for each in session.get_outputs()] == list(outputs(graph))
    fixed = {} if graph.modality == "panel" else {"modality": graph.modality}
    axes = [(1, 1, 1), (1, 11, 1), (2, 1, 5), (3, 2, 1), (4, 11, 9), (2, 7, 3), (7, 3, 2), (1, 4, 40)]
    for seed, (batch_size, num_panels, num_candidates) in enumerate(axes):
        asked = draw(
            graph, model.config, seed, batch_size=batch_size, num_panels=num_panels, num_candidates=num_candidates
        )
        with torch.no_grad():
            expected = model(**asked, **fixed)
        found = session.run(None, {key: value.numpy() for key, value in asked.items()})
        for key, value in zip(outputs(graph), found, strict=True):
            assert_close(torch.from_numpy(value), expected[key])
            assert torch.isfinite(expected[key]).all()


@pytest.mark.thorough
def test_halves_of_zeros_are_no_tokens_in_a_graph_either(tmp_path):
    config = tiny_config(streams="separate", panel_embedding_dim=36, num_hidden_layers=1)
    build("panel_picking", config).save_pretrained(tmp_path / "model")
    export_onnx(str(tmp_path / "model"), tmp_path / "onnx")
    (graph,) = graphs_of(open_source(str(tmp_path / "model"), None))
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "panel_picking.onnx")
    model = CLASSES["panel_picking"].from_pretrained(tmp_path / "model").eval()
    asked = draw(graph, config, 5, batch_size=4, num_panels=6, num_candidates=5)
    for name in ("panel_embeddings", "candidate_embeddings"):
        asked[name][:, ::3, :16], asked[name][:, 1::3, 16:], asked[name][:, 2::6] = 0, 0, 0
    with torch.no_grad():
        expected = model(**asked).logits
    (found,) = session.run(None, {key: value.numpy() for key, value in asked.items()})
    assert_close(torch.from_numpy(found), expected)


@pytest.mark.slow
def test_the_folder_says_what_it_is(run, names, exported):
    assert {each.name for each in graphs_of(open_source(str(run), None))} == set(GRAPHS)
    files = {path.name for path in exported.iterdir()}
    assert files == {*(f"{name}.onnx" for name in names), "config.json", "README.md", "training_provenance.json"}
    config = ComicSeqConfig.from_pretrained(exported)
    assert config.panel_embedding_dim == 24 and not hasattr(config, "auto_map")
    assert (exported / "training_provenance.json").read_bytes() == (run / "training_provenance.json").read_bytes()
    card = (exported / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: onnx\n---\n\n# The card\n\n## This export\n")
    assert "made from, whose PyTorch classes are not in this folder." in card and card.endswith(
        "## Use\n\n`AutoModel`\n"
    )
    assert "| `encoder.onnx` | `panel_embeddings` (batch_size, num_panels, 24), `attention_mask`" in card
    told = (
        onnxruntime.InferenceSession(exported / "text_cloze_with_visual_embedding.onnx")
        .get_modelmeta()
        .custom_metadata_map
    )
    assert told["comicseq_class"] == "ComicSeqForTextCloze"
    assert json.loads(told["comicseq_config"])["hidden_size"] == 32
    assert json.loads(told["comicseq_provenance"]) == {"origin": {"encoders": "some"}}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, pytest.param(torch.float64, marks=pytest.mark.thorough)])
def test_other_precisions_become_float32_and_answer_the_example_of_the_documentation(dtype, tmp_path, monkeypatch):
    build("encoder", tiny_config(num_hidden_layers=1)).to(dtype).save_pretrained(tmp_path / "model")
    exported = tmp_path / "outputs" / "onnx"
    command = ["export", str(tmp_path / "model"), str(exported), "--format", "onnx"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    name = str(dtype).removeprefix("torch.")
    assert "encoder.onnx; " in result.stdout and f"in float32 (the checkpoint is in {name})" in result.stdout
    assert json.loads((exported / "config.json").read_text())["dtype"] == "float32"
    assert onnxruntime.InferenceSession(exported / "encoder.onnx").get_inputs()[0].type == "tensor(float)"
    monkeypatch.chdir(tmp_path)
    session: dict = {}
    for block in blocks(REPOSITORY / "docs" / "encode_and_search.md", "python"):
        exec(compile(block, "encode_and_search.md", "exec"), session)
    assert session["contextualized_panels"].shape == (2, 6, 32) and session["strips"].shape == (2, 32)


@pytest.mark.slow
def test_a_graph_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    build("encoder", tiny_config(num_hidden_layers=1)).save_pretrained(tmp_path / "model")
    written = onnx_export.write_graph

    def spoil(graph, model, *args):
        written(graph, model, *args)
        with torch.no_grad():
            model.layernorm.weight += 0.1

    monkeypatch.setattr(onnx_export, "write_graph", spoil)
    with pytest.raises(ComicSeqDataError, match="encoder in ONNX does not answer as in PyTorch, with torch"):
        export_onnx(str(tmp_path / "model"), tmp_path / "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_is_refused(run, tmp_path, monkeypatch):
    def refusal(*words):
        result = CliRunner().invoke(app, ["export", str(run), *words, "--format", "onnx"])
        assert result.exit_code == 1
        return " ".join(result.output.split())

    out = str(tmp_path / "out")
    assert "--dtype float16 is not for --format onnx" in refusal(out, "--dtype", "float16")
    assert "must be one of encoder, panel_picking" in refusal(out, "--task", "guessing")
    assert "lies in the input" in refusal(str(run / "onnx"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert "exists: name another folder, or give --overwrite" in refusal(str(tmp_path / "full"))
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *args: None if name == "onnxruntime" else found(name, *args)
    )
    told = refusal(out)
    assert "needs onnxruntime: install what is missing with `pip install 'comicseq[onnx]'`" in told
    assert not (tmp_path / "out").exists()
