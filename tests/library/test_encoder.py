"""The encoder of a library: every panel of every page is in every window that holds it, and pages do not mix."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_comicseq.library.encoder import _ROW_LENGTH, PageEncoder, query_modality
from modeling_comicseq.model.packing_comicseq import ComicSeqPacking, ComicSeqView
from modeling_comicseq.stores.windows import expand_windows

from ..closeness import assert_close
from ..model_inputs import build, draw_boxes, tiny_config

CPU = torch.device("cpu")


@settings(deadline=None, max_examples=30)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=20),
    window=st.integers(2, 40),
    with_boxes=st.booleans(),
    pooling=st.sampled_from(["query", "residual"]),
)
def test_pages_are_encoded_as_one_by_one_in_plain_windows(counts, window, with_boxes, pooling):
    counts = np.array(counts)
    config = tiny_config(
        panel_embedding_dim=3, max_position_embeddings=window, box_embedding=with_boxes, strip_pooling=pooling
    )
    model = build("encoder", config).eval()
    vectors = np.random.default_rng(len(counts)).standard_normal((counts.sum(), 3)).astype(np.float32)
    boxes = draw_boxes(counts.sum()).numpy() if with_boxes else None
    panels, strips = PageEncoder(model, CPU)(vectors, counts, boxes)
    first = 0
    for page, count in enumerate(counts):
        own = torch.from_numpy(vectors[first : first + count])
        its_boxes = None if boxes is None else torch.from_numpy(boxes[first : first + count])[None]
        sums, times = torch.zeros(count, model.config.hidden_size), torch.zeros(count, 1)
        with torch.no_grad():
            for start in expand_windows(np.array([count]), window, window // 2)[1]:
                part = slice(start, start + window)
                shown = None if its_boxes is None else its_boxes[:, part]
                sums[part] += model(own[None, part], panel_boxes=shown).contextualized_panels[0]
                times[part] += 1
            assert_close(panels[first : first + count].numpy(), (sums / times).numpy())
            if count:
                mask = torch.ones(1, int(count), dtype=torch.bool)
                assert_close(strips[page].numpy(), model.pooler((sums / times)[None], mask, own[None])[0][0].numpy())
            else:
                assert not strips[page].any()
        first += count


@settings(deadline=None, max_examples=60)
@given(counts=st.lists(st.integers(0, 40), min_size=1, max_size=30), window=st.integers(2, 40))
def test_windows_are_those_of_each_page_in_order(counts, window):
    expected = [
        (page, start, min(window, count - start))
        for page, count in enumerate(counts)
        for start in expand_windows(np.array([count]), window, window // 2)[1]
    ]
    found = expand_windows(np.array(counts), window, window // 2)
    assert list(zip(*(each.tolist() for each in found), strict=True)) == expected


@settings(deadline=None, max_examples=60)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_tokens_are_packed_in_order_in_one_row(lengths):
    real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    tokens = torch.where(real, 1 + torch.arange(real.numel()).view(real.shape), 0)
    packing = ComicSeqPacking.of([ComicSeqView(tokens[..., None], real, real, real)], _ROW_LENGTH)
    rows = packing.pack(tokens[..., None].float())[..., 0]
    assert sorted(rows[rows > 0].tolist()) == tokens[real].tolist()
    for sequence, length in zip(tokens, lengths, strict=True):
        (row,) = (rows == sequence[0]).any(1).nonzero()[0]
        start = int((rows[row] == sequence[0]).nonzero())
        assert rows[row, start : start + length].tolist() == sequence[:length].tolist()
    assert torch.equal(packing.unpack(rows[..., None])[..., 0], tokens.float())


def test_rows_are_full():
    lengths = torch.from_numpy(np.random.default_rng(0).integers(1, 12, 300))
    real = torch.arange(11) < lengths[:, None]
    packing = ComicSeqPacking.of([ComicSeqView(real[..., None], real, real, real)], _ROW_LENGTH)
    assert packing.row_length == 32 and packing.padding_share < 0.03


def test_half_precision_vectors_are_taken_and_given():
    vectors = np.random.default_rng(0).standard_normal((9, 8)).astype(np.float16)
    model = build("encoder", tiny_config(panel_embedding_dim=8)).eval()
    half, strips = PageEncoder(model, CPU, torch.float16)(vectors, np.array([4, 0, 5]))
    whole, _ = PageEncoder(model, CPU)(vectors.astype(np.float32), np.array([4, 0, 5]))
    assert half.dtype == strips.dtype == torch.float16
    assert torch.equal(half, whole.half())


def test_a_text_is_given_as_a_text_to_models_that_centre_texts_by_themselves():
    same = {f"{name}_embedding_dim": 8 for name in ("panel", "text", "visual", "caption")}
    assert query_modality(tiny_config(**same, strip_pooling="residual"), "text", 8) == "text"
    assert query_modality(tiny_config(**same, strip_pooling="residual"), "visual", 8) == "visual"
    assert query_modality(tiny_config(strip_pooling="residual"), "text", 24) == "panel"  # its texts are 20 wide
    assert query_modality(tiny_config(**same), "text", 8) == "panel"
    model = build("encoder", tiny_config(**same, strip_pooling="residual"))
    model.pooler.strip_mean.centres.normal_()
    text = torch.randn(1, 8)
    _, strips = PageEncoder(model, CPU)(text.numpy(), np.array([1]), modality="text")
    with torch.no_grad():
        assert_close(strips, model(text[None], modality="text").strip_embedding)
        assert (strips - model(text[None]).strip_embedding).abs().max() > 0.1
