"""Strip vectors as the whitened mean of what went in, and what the strip query adds to it."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from modeling_comicseq import ComicSeqForPreTraining, ComicSeqModel
from modeling_comicseq.checkpoints.opening import open_checkpoint
from tests.model_inputs import build, draw_boxes, example, lengths_mask, tiny_config

V, T = 10, 14  # widths of a picture and of a text where streams are separate
STREAMS = {"streams": "separate", "visual_embedding_dim": V, "text_embedding_dim": T, "caption_embedding_dim": T}


def residual_config(**changes):
    """A configuration whose panels, pictures and texts are in one space, as wide as strips."""
    widths = {f"{name}_embedding_dim": 32 for name in ("panel", "visual", "text", "caption")}
    return tiny_config(**{**widths, "strip_pooling": "residual", **changes})


def fitted(model):
    """The model with some centres and directions in its strip mean."""
    strip_mean = model.base_model.pooler.strip_mean
    generator = torch.Generator().manual_seed(3)
    strip_mean.centres.copy_(0.3 * torch.randn(strip_mean.centres.shape, generator=generator))
    strip_mean.whitening.copy_(torch.randn(strip_mean.whitening.shape, generator=generator))
    return model


def normalised(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.sqrt((vectors**2).mean(-1, keepdims=True))


@pytest.mark.parametrize("input_scale", [None, 0.5])
def test_a_new_strip_is_the_mean_of_the_vectors(input_scale):
    model = ComicSeqModel(residual_config(input_scale=input_scale)).eval()
    panels, mask = torch.randn(3, 5, 32), lengths_mask([5, 1, 3])
    strips = model(panels, mask).strip_embedding.detach().numpy()
    for strip, page, count in zip(strips, panels.numpy(), (5, 1, 3), strict=True):
        shown = normalised(page[:count]) if input_scale is None else input_scale * page[:count]
        assert_close(strip, shown.mean(0), rtol=1e-5, atol=1e-5)


def test_a_narrower_strip_keeps_lengths_on_average():
    model = ComicSeqModel(residual_config(hidden_size=16)).eval()
    whitening = model.pooler.strip_mean.whitening
    assert_close(whitening @ whitening.T, torch.eye(16), rtol=1e-5, atol=1e-5)


def test_the_query_adds_to_the_whitened_mean():
    model = fitted(build("encoder", residual_config()))
    inputs = example("encoder", model.config)
    outputs = model(**inputs)
    mask, strip_mean = inputs["attention_mask"].bool(), model.pooler.strip_mean
    attended = model.pooler(outputs.contextualized_panels, mask)[0]
    for row, count in enumerate(mask.sum(1)):
        vectors = normalised(inputs["panel_embeddings"][row, :count].numpy())
        mean = (vectors.mean(0) - strip_mean.centres[0].numpy()) @ strip_mean.whitening.numpy().T
        assert_close(
            outputs.strip_embedding[row].detach(),
            attended[row].detach() + torch.from_numpy(mean),
            rtol=1e-4,
            atol=1e-4,
        )


@pytest.mark.parametrize("streams", [{}, STREAMS], ids=["fused", "separate"])
def test_padded_slots_and_panels_that_were_taken_out_are_not_read(streams):
    model = fitted(build("encoder", tiny_config(**streams, strip_pooling="residual")))
    panels, mask = torch.randn(2, 5, 24), lengths_mask([4, 3], 5)
    asked = torch.tensor([1, 2])
    strips = model(panels, mask, mask_position=asked).strip_embedding
    spoilt = panels.clone()
    spoilt[mask == 0] = torch.nan
    spoilt[torch.arange(2), asked] = torch.nan
    assert_close(model(spoilt, mask, mask_position=asked).strip_embedding, strips, rtol=0, atol=0)
    rest = model.pooler.strip_mean(panels[:1, [0, 2, 3]], torch.ones(1, 3, dtype=torch.bool))
    shown = mask.bool() & (torch.arange(5) != asked[:, None])
    assert_close(model.pooler.strip_mean(spoilt, shown)[:1], rest, rtol=1e-5, atol=1e-5)


def test_a_strip_that_shows_nothing_has_a_mean_of_zeros():
    strip_mean = fitted(build("encoder", residual_config())).pooler.strip_mean
    assert not strip_mean(torch.full((2, 3, 32), torch.nan), torch.zeros(2, 3, dtype=torch.bool)).any()
    boxes = fitted(build("encoder", residual_config(box_embedding=True)))
    assert boxes(panel_boxes=draw_boxes(1, 3)).strip_embedding.isfinite().all()


def test_words_and_pictures_are_centred_by_themselves():
    model = fitted(build("encoder", residual_config()))
    strip_mean, vectors = model.pooler.strip_mean, torch.randn(2, 1, 32)
    shown = torch.ones(2, 1, dtype=torch.bool)
    for row, modality in enumerate(("panel", "visual", "text", "caption")):
        expected = (
            normalised(vectors[:, 0].numpy()) - strip_mean.centres[row].numpy()
        ) @ strip_mean.whitening.numpy().T
        assert_close(strip_mean(vectors, shown, modality).numpy(), expected, rtol=1e-4, atol=1e-4)
        attended = model(vectors, modality=modality).strip_embedding - strip_mean(vectors, shown, modality)
        assert_close(
            model.pooler(model(vectors, modality=modality).last_hidden_state, shown)[0], attended, rtol=1e-4, atol=1e-4
        )


def test_a_text_of_another_width_is_not_in_the_space():
    strip_mean = fitted(build("encoder", tiny_config(strip_pooling="residual"))).pooler.strip_mean
    assert not strip_mean(torch.randn(1, 2, 20), torch.ones(1, 2, dtype=torch.bool), "text").any()


def test_pictures_and_texts_side_by_side_are_averaged_each_over_those_there_are():
    model = fitted(build("encoder", tiny_config(**STREAMS, strip_pooling="residual")))
    strip_mean, panels = model.pooler.strip_mean, torch.randn(1, 3, V + T)
    panels[0, 1, V:] = 0  # no text
    panels[0, 2, :V] = 0  # no picture
    shown = torch.ones(1, 3, dtype=torch.bool)
    picture = normalised(panels[0, :2, :V].numpy()).mean(0)
    text = normalised(panels[0, [0, 2], V:].numpy()).mean(0)
    centre, whitening = strip_mean.centres[0].numpy(), strip_mean.whitening.numpy()
    expected = (np.concatenate((picture, text)) - centre) @ whitening.T
    assert_close(strip_mean(panels, shown)[0].numpy(), expected, rtol=1e-4, atol=1e-4)
    only = (normalised(panels[0, 0, V:].numpy()) - strip_mean.centres[2, V:].numpy()) @ whitening[:, V:].T
    assert_close(strip_mean(panels[:, :1, V:], shown[:, :1], "text")[0].numpy(), only, rtol=1e-4, atol=1e-4)


def test_the_contrastive_loss_teaches_what_the_query_adds():
    model = fitted(ComicSeqForPreTraining(residual_config()))
    model(torch.randn(4, 3, 32), labels=torch.tensor([0, 1, 0, 1])).loss.backward()
    pooler = model.comicseq.pooler
    assert pooler.o_proj.weight.grad.abs().sum() > 0  # which is zero at the start, and lets nothing else learn yet
    assert not any("strip_mean" in name for name, _ in model.named_parameters())


def test_centres_and_whitening_are_saved(tmp_path):
    model = fitted(build("pretraining", residual_config()))
    model.save_pretrained(tmp_path)
    inputs = example("encoder", model.config)
    again = ComicSeqModel.from_pretrained(tmp_path).eval()
    assert_close(again(**inputs).strip_embedding, model.comicseq(**inputs).strip_embedding, rtol=0, atol=0)


def test_models_are_as_they_were_without_it():
    assert tiny_config().strip_pooling == "query"
    names = ComicSeqModel(tiny_config()).state_dict().keys()
    assert not any("strip_mean" in name for name in names)
    with pytest.raises(Exception, match="`strip_pooling` is 'mean' but must be one of query, residual"):
        tiny_config(strip_pooling="mean")


def test_an_older_checkpoint_can_be_given_a_mean(tmp_path):
    old = build("pretraining", residual_config(strip_pooling="query"))
    old.save_pretrained(tmp_path)
    model = open_checkpoint(str(tmp_path), overrides={"strip_pooling": "residual"}).model.eval()
    inputs = example("encoder", model.config)
    mask = inputs["attention_mask"].bool()
    added = model.comicseq(**inputs).strip_embedding - old.comicseq(**inputs).strip_embedding
    assert_close(added, model.comicseq.pooler.strip_mean(inputs["panel_embeddings"], mask), rtol=1e-4, atol=1e-4)
    assert not model.comicseq.pooler.strip_mean.is_fitted
