"""Old imports name the new place, and the new places exist."""

import importlib
import importlib.util
import subprocess
import sys

import pytest

from modeling_comicseq.moved import MOVED


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_an_old_import_names_the_new_place(old, new):
    message = f"modeling_comicseq.{old} has moved: import it from {new}."
    with pytest.raises(ModuleNotFoundError) as error:
        importlib.import_module(f"modeling_comicseq.{old}")
    assert str(error.value) == message
    assert all(importlib.util.find_spec(place) is not None for place in new.split(" or "))


def test_names_of_modules_and_of_functions():
    with pytest.raises(ModuleNotFoundError, match=r"import it from modeling_comicseq\.model\.modeling_comicseq\."):
        from modeling_comicseq import modeling_comicseq  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match=r"import it from modeling_comicseq\.checkpoints\.opening\."):
        from modeling_comicseq.checkpoints import read_config  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match=r"import it from modeling_comicseq\.library or"):
        from modeling_comicseq.stage5.search import search  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="No module named 'modeling_comicseq.nothing'"):
        importlib.import_module("modeling_comicseq.nothing")


@pytest.mark.slow
def test_the_command_line_imports_no_torch_and_everyone_else_has_the_auto_classes():
    script = """
import sys
sys.argv[0] = "comicseq"
import modeling_comicseq, modeling_comicseq.cli
assert "torch" not in sys.modules and "ComicSeqModel" in dir(modeling_comicseq)
from modeling_comicseq import ComicSeqConfig
from transformers import AutoConfig
assert AutoConfig.for_model("comicseq") == ComicSeqConfig()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    script = "import modeling_comicseq; from transformers import AutoConfig; AutoConfig.for_model('comicseq')"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    with pytest.raises(ImportError, match="cannot import name 'ComicSeqNothing'"):
        from modeling_comicseq import ComicSeqNothing  # noqa: F401
