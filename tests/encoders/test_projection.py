"""The projections that a new panel encoder begins with."""

import numpy as np
import pytest

from modeling_comicseq.encoders.projection import PanelProjection

from ..closeness import assert_close


def test_the_projection_is_fixed_and_keeps_angles():
    generator = np.random.default_rng(0)
    pictures, texts = (generator.standard_normal((50, dim)).astype(np.float32) for dim in (1280, 384))
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    projection = PanelProjection(1280, 384, width=512)
    drawn = np.random.default_rng(512)
    first, second = drawn.standard_normal((1280, 512)), drawn.standard_normal((384, 512))
    assert_close(projection.pictures(pictures), pictures @ first / 512**0.5)
    assert_close(projection.texts(texts), texts @ second / 512**0.5)
    fused = projection.fuse(pictures, texts)
    assert_close(fused, projection.pictures(pictures) + projection.texts(texts))
    np.testing.assert_array_equal(projection.fuse(pictures, None), projection.pictures(pictures))
    assert not projection.texts(np.zeros((1, 384), np.float32)).any()
    # Johnson and Lindenstrauss: inner products change by about 1 / sqrt(width).
    change = projection.pictures(pictures) @ projection.pictures(pictures).T - pictures @ pictures.T
    assert np.abs(change).std() < 2 / 512**0.5
    with pytest.raises(ValueError, match="without `text_dim`"):
        PanelProjection(8, None, 16).texts(texts)
