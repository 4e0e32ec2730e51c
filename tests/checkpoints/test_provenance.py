"""Where the vectors come from that a model was trained on."""

from __future__ import annotations

from modeling_comicseq.checkpoints.provenance import compare_origins


def test_compare_origins():
    mine = {"origin": {"encoders": "a", "fusion": "sum", "books": 3}}
    assert compare_origins(mine, mine) is None
    assert compare_origins(mine, {"origin": {"fusion": "sum"}}) is None
    assert compare_origins(mine, {"origin": {"encoders": "b"}}) == "encoders is 'a' here and 'b' there"
