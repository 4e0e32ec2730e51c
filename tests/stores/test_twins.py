"""Pages that stand twice."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modeling_comicseq.stores.twins import has_twin, hash_spans, same_pages


def test_pages_are_the_same_by_name_or_by_vectors():
    hashes = np.array([1, 2, 1, 3, 4, 3], np.uint64)
    paths = ["b/Zo\u00e9.jpg", "b/2.jpg", "b/3.jpg", "b\\Zoe\u0301.jpg ", "c/2.jpg", "b/6.jpg"]
    first = same_pages(hashes, ["b", "b", "b", "b", "c", "b"], paths)
    # 0 and 2 by vectors, 0 and 3 by name, 3 and 5 by vectors; a path of the same name in another book is another page.
    assert first.tolist() == [0, 1, 0, 0, 4, 0]
    assert has_twin(first).tolist() == [True, False, True, True, False, True]
    assert same_pages(hashes[:2], ["a", "b"], ["1.jpg", "1.jpg"]).tolist() == [0, 1]
    assert len(same_pages(hashes[:0], [], [])) == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_the_first_is_that_of_a_plain_search(pages):
    """Pages reached from one another, step by step."""
    hashes, names = [np.array([page[i] for page in pages], np.uint64) for i in (0, 1)]
    expected = []
    for start in range(len(pages)):
        reached, before = {start}, set()
        while reached != before:
            before = set(reached)
            reached |= {
                n for n, page in enumerate(pages) for m in before if page[0] == pages[m][0] or page[1] == pages[m][1]
            }
        expected.append(min(reached))
    found = same_pages(hashes, ["b"] * len(pages), [str(name) for name in names])
    assert found.tolist() == expected


def test_hashes_are_of_values_and_lengths():
    rows = np.arange(24, dtype=np.float16).reshape(6, 4) % 8
    assert len(set(hash_spans(rows, range(7)).tolist())) == 2
    assert hash_spans(rows, [0, 2, 4, 6])[0] == hash_spans(rows, [0, 2, 4, 6])[2] != hash_spans(rows, [0, 2, 3])[1]
    assert hash_spans(rows[:, ::-1], [0, 2]) == hash_spans(rows[:, ::-1].copy(), [0, 2])
