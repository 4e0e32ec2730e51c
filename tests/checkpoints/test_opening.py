"""What is refused where a checkpoint is opened: weights that mean nothing, and names at which nothing is."""

import json
import socket
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from transformers import BertConfig, BertModel
from transformers.utils import hub, logging

from modeling_comicseq.checkpoints.export import export_checkpoint
from modeling_comicseq.checkpoints.opening import load_checkpoint, open_checkpoint, override_config, read_config
from modeling_comicseq.comics_pap.files import find_skills
from modeling_comicseq.encoders.panel_encoder import load_panel_encoder
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.model.configuration_comicseq import ComicSeqConfig
from modeling_comicseq.model.handler import EndpointHandler
from modeling_comicseq.model.modeling_comicseq import ComicSeqForPreTraining
from modeling_comicseq.model.pipeline_comicseq import ComicStripEmbeddingPipeline
from tests.data.made_dataset import made_table
from tests.model_inputs import build, example, tiny_config


def refused(message: str):
    return pytest.raises(ComicSeqDataError, match=message)


@pytest.fixture
def folder(tmp_path) -> Path:
    build("pretraining").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(params=["nan", "inf"])
def spoilt(tmp_path, request) -> Path:
    model = build("pretraining")
    model.reading_order_head.scorer.weight.data.view(-1)[3] = float(request.param)
    model.save_pretrained(tmp_path / "spoilt")
    return tmp_path / "spoilt"


def test_weights_that_are_not_finite(spoilt, tmp_path):
    fault = "`reading_order_head.scorer.weight` of .*spoilt holds NaN or infinity, .*: take a checkpoint from before"
    with refused(fault):
        open_checkpoint(str(spoilt))
    with refused(fault):
        export_checkpoint(str(spoilt), tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
    with pytest.raises(ValueError, match=fault):
        EndpointHandler(str(spoilt))
    model = build("pretraining").from_pretrained(spoilt)
    with pytest.raises(ValueError, match=fault):
        ComicStripEmbeddingPipeline(model=model, task="comic-strip-embedding")


def test_pickled_weights(folder):
    (folder / "model.safetensors").unlink()
    torch.save(build("pretraining").state_dict(), folder / "pytorch_model.bin")
    with refused(r"model/pytorch_model.bin is a pickle, .* is not loaded: write the model again as model.safetensors"):
        open_checkpoint(str(folder))


def test_cut_off_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with refused("model is no ComicSeq checkpoint: .*MetadataIncompleteBuffer|model is no ComicSeq checkpoint"):
        open_checkpoint(str(folder))
    weights.write_bytes(b"")
    with refused("model is no ComicSeq checkpoint"):
        open_checkpoint(str(folder))


def test_an_index_without_its_parts(folder):
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"comicseq.layernorm.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with refused("model is no ComicSeq checkpoint: .*model-00001-of-00002.safetensors"):
        open_checkpoint(str(folder))
    for text in ("{", "[]", '{"weight_map": {}}', '{"weight_map": 3}'):
        (folder / "model.safetensors.index.json").write_text(text)
        with refused("model"):
            open_checkpoint(str(folder))


def test_weights_of_another_model(folder):
    BertModel(BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(folder / "bert")
    (folder / "bert" / "model.safetensors").replace(folder / "model.safetensors")
    with refused("model does not hold the whole encoder: `comicseq.embeddings.* is missing. Name another checkpoint"):
        load_checkpoint(str(folder), read_config(str(folder)))
    save_file({"unknown": torch.zeros(3)}, folder / "model.safetensors")
    with refused("model does not hold the whole encoder"):
        load_checkpoint(str(folder), read_config(str(folder)))


@pytest.fixture
def network(monkeypatch) -> list[str]:
    """A session that is allowed to ask the Hub; every attempt is listed, and fails."""
    asked: list[str] = []

    def ask(*arguments, **_):
        asked.append(str(arguments))
        raise OSError("There is no network.")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", ask)
    monkeypatch.setattr(socket, "getaddrinfo", ask)
    monkeypatch.setattr(hub, "hf_hub_download", ask)
    return asked


@pytest.mark.parametrize(
    "name", ["outputs/modle", "./modle", "outputs/old/modle", "../modle", "modle/", "~/modle", "modle", "modle.json"]
)
def test_a_mistyped_path_asks_no_network(name, folder, monkeypatch, network):
    folder.rename(folder.parent / "outputs")  # beside it, so that both parents of the names are here
    (folder.parent / "outputs" / "model").mkdir()
    monkeypatch.chdir(folder.parent)
    with refused(f"There is no {name}.*: name a model configuration, a checkpoint folder or a model on the Hub"):
        open_checkpoint(name)
    if "/" in name:
        for encoder in (name, f"{name}+", f"+{name}"):
            with refused(f"There is no {name}.*: name .*, or the folders? or Hub names? of a .* model"):
                load_panel_encoder(encoder)
    with refused(f"There is no {name}.*: name a folder, a parquet file, or a data set on the Hub"):
        find_skills(name)
    assert not network


def test_a_mistyped_path_is_compared_with_what_is_there(folder, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    with refused(f"There is no {folder.parent.name}/modle: name .*: did you mean `model`"):
        read_config(f"{folder.parent.name}/modle")


def test_a_name_on_the_hub_is_asked_for(folder, monkeypatch, network):
    monkeypatch.chdir(folder.parent)
    with refused("user/comicseq is no ComicSeq checkpoint"):
        read_config("user/comicseq")
    assert network
    # In the Hub's cache, and a folder here has the name of its owner.
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder.parent / "cache"))
    Path(folder.parent, "cache", "models--user--comicseq").mkdir(parents=True)
    Path("user").mkdir()
    with refused("user/comicseq is no ComicSeq checkpoint"):
        read_config("user/comicseq")


def test_loading_prints_no_table_before_its_sentence(tmp_path, monkeypatch):
    """Transformers would list every weight that is missing, and then comes what is wrong with the checkpoint."""
    seen, before = [], logging.get_verbosity()

    def load(*_, **__):
        seen.append(logging.get_verbosity())
        raise OSError("no weights")

    monkeypatch.setattr(ComicSeqForPreTraining, "from_pretrained", load)
    with pytest.raises(ComicSeqDataError, match="no weights"):
        load_checkpoint(str(tmp_path), ComicSeqConfig())
    assert seen == [logging.ERROR] and logging.get_verbosity() == before


def test_a_field_of_another_type_is_told_without_the_library_s_words():
    with pytest.raises(
        ComicSeqArgumentError, match="^here: `masked_panel_weight` is 'half' but must be of the type float or"
    ):
        override_config(ComicSeqConfig(), {"masked_panel_weight": "half"}, "here")


@pytest.fixture
def configuration(tmp_path) -> str:
    (tmp_path / "model.json").write_text(json.dumps({"hidden_size": 16, "num_attention_heads": 2}))
    return str(tmp_path / "model.json")


def test_a_new_model_reads_boxes_where_the_data_have_them(configuration):
    for boxes, overrides, expected in (
        (True, {}, (True, 1)),
        (False, {}, (False, 0)),
        (True, {"box_embedding": False}, (False, 0)),
        (True, {"box_relation_layers": 0}, (True, 0)),
    ):
        table = made_table([[2, 3]], boxes=boxes)
        opened = open_checkpoint(configuration, table, "data", overrides=overrides, may_be_new=True)
        config = opened.model.config
        assert (config.box_embedding, config.box_relation_layers) == expected and not opened.notes


def test_a_model_that_reads_boxes_says_that_the_data_have_none(tmp_path):
    widths = dict.fromkeys(("panel_embedding_dim", "text_embedding_dim", "visual_embedding_dim"), 4)
    config = tiny_config(box_embedding=True, caption_embedding_dim=4, **widths)
    build("pretraining", config).save_pretrained(tmp_path / "model")
    (note,) = open_checkpoint(str(tmp_path / "model"), made_table([[2, 3]]), "data").notes
    assert note.startswith("data does not tell where panels stand, which ")
    assert not open_checkpoint(str(tmp_path / "model"), made_table([[2, 3]], boxes=True), "data").notes


def test_boxes_are_added_to_a_trained_model_and_change_nothing_yet(folder):
    before = open_checkpoint(str(folder)).model.eval()
    after = open_checkpoint(str(folder), overrides={"box_embedding": True}).model.eval()
    inputs = example("panel_picking")
    boxes = torch.tensor([0.1, 0.1, 0.5, 0.5]).expand(*inputs["attention_mask"].shape, 4)
    with torch.no_grad():
        expected = before(panel_picking=inputs).task_logits["panel_picking"]
        actual = after(panel_picking=inputs | {"panel_boxes": boxes}).task_logits["panel_picking"]
    assert torch.equal(actual, expected)


def test_a_model_that_lost_its_box_embedding_is_refused(folder):
    changed = json.loads((folder / "config.json").read_text()) | {"box_embedding": True}
    (folder / "config.json").write_text(json.dumps(changed))
    with refused("does not hold the whole encoder: .*box_embedding"):
        open_checkpoint(str(folder))
