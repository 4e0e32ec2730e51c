"""The registry of tasks, and what each of them says of itself."""

from __future__ import annotations

import pytest

from modeling_comicseq.data.distractors import PROTOCOLS
from modeling_comicseq.errors import ComicSeqArgumentError
from modeling_comicseq.model.modeling_comicseq import TASK_CLASSES
from modeling_comicseq.model.tasks_comicseq import TASKS as SPECS
from modeling_comicseq.tasks import TASKS, get_tasks

from ..data.made_dataset import made_table


def test_every_task_of_the_model_has_its_file_and_stands_in_the_models_order():
    assert list(TASKS) == list(SPECS) == list(TASK_CLASSES)
    for name, task in TASKS.items():
        assert task.name == name and task.spec is SPECS[name]
        assert set(task.protocols) <= set(PROTOCOLS) and len(task.metrics) >= 2


def test_tasks_are_got_by_name():
    assert get_tasks(["all"]) == list(TASKS.values())
    assert [task.name for task in get_tasks(["text_cloze", "panel_picking", "text_cloze"])] == [
        "text_cloze",
        "panel_picking",
    ]
    with pytest.raises(ComicSeqArgumentError, match="`tasks` names 'panel_pickin' .*: did you mean `panel_picking`"):
        get_tasks(["panel_pickin"])


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.protocols])
def test_an_unknown_protocol_is_refused(name):
    with pytest.raises(ComicSeqArgumentError, match="`protocol` is 'nearby' but must be one of same_book"):
        TASKS[name].check_servable(made_table([[4, 4], [4, 4]]), "nearby")
