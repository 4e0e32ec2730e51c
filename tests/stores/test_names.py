"""Names of books, pages and characters."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.stores.names import check_known, normal_form, normal_path, respelled
from modeling_comicseq.stores.splits import hash_place

NAMES = st.text(max_size=12)
BLANKS = st.text(" \t\n\u00a0\u2003\u3000", max_size=3)


@given(NAMES)
def test_the_normal_form_of_a_normal_form_is_itself(name):
    assert normal_form(normal_form(name)) == normal_form(name)
    assert normal_path(normal_path(name)) == normal_path(name)


@given(NAMES, st.sampled_from(["NFC", "NFD"]), BLANKS, BLANKS)
def test_a_name_has_one_place_in_whatever_spelling(name, form, before, behind):
    spelling = f"{before}{unicodedata.normalize(form, name)}{behind}"
    assert normal_form(spelling) == normal_form(name)
    assert hash_place(spelling) == hash_place(name)
    assert normal_path(f"library\\{spelling}/1.jpg") == normal_path(f"library/{name}/1.jpg")


@given(st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", max_size=12))
def test_letters_stay_as_they_are(name):
    assert normal_form(name) == normal_path(name) == name


def test_spellings_are_told():
    assert respelled(["a", "Zoe\u0301", "a ", "Zo\u00e9", "A"]) == {"a ": "a", "Zo\u00e9": "Zoe\u0301"}


def test_unknown_names_are_named():
    check_known(["Zoe\u0301 "], ["Zo\u00e9", "Ann"], "book", "list.json", "pages.json")
    with pytest.raises(ComicSeqDataError) as error:
        check_known(["An", "Zo\u00e9", *"xyz"], ["Zo\u00e9", "Ann"], "book", "list.json", "pages.json")
    assert str(error.value) == (
        "list.json: pages.json holds no book 'An': did you mean `Ann`, no book 'x', no book 'y', nor 1 more; "
        "correct the names or take them out"
    )
