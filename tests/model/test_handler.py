"""The endpoint handler: JSON in, JSON out, whatever the request is; and pipelines where the package cannot be imported."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import pipeline

from modeling_comicseq.model.handler import EndpointHandler
from tests.model.test_pipeline_comicseq import TASKS, assert_same_answers, questions
from tests.model.test_remote_code import run_without_package
from tests.model_inputs import build

# Random and malformed requests, drawn from a seed. The checkpoint reads panels of 24 numbers, texts of 20, pictures of 16.
REQUESTS = '''
import json, random

def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value

STRANGE = [
    None, True, 0, -1, 3, 10**400, 1.5, 1e39, 1e308, float("nan"), float("inf"), "", "text", "\\ud800", "\\x00", [], {}, [[]],
    [[], []], [[[]]], [None], ["a"], [["a"] * 24], [[True] * 24], {"a": 1}, {1: 2}, (1, 2), b"bytes", {1, 2}, object(),
    nested(5000), "x" * 10**6, [[0.0] * 24] * 13, [[0.0] * 24] * 1000, [0.0] * 10**5, [[0.0] * 10**5], [[0.0] * 25],
    [[10**400] * 24], [[1e39] * 24], [[float("nan")] * 24], [[1.0] * 24, [1.0] * 23], [[1.0] * 24, None],
]
TASKS = ["comic-strip-embedding", "comic-panel-picking", "comic-visual-closure", "comic-text-closure", "comic-text-cloze",
         "comic-reading-order", "comic-character-coherence", "comic-caption-relevance"]
FIELDS = {"panel_embeddings": 24, "candidate_embeddings": 24, "text_embeddings": 20, "candidate_text_embeddings": 20,
          "caption_embeddings": 28}

def vectors(random, width, most):
    return [[random.gauss(0, 1) for _ in range(width)] for _ in range(random.randint(1, most))]

def question(random, task):
    page = vectors(random, 24, 11)
    fields = {"panel_embeddings": page}
    if task == "comic-text-cloze":
        fields |= {"text_embeddings": [[random.gauss(0, 1) for _ in range(20)] for _ in page],
                   "candidate_text_embeddings": vectors(random, 20, 6), "mask_position": random.randrange(len(page))}
        if random.random() < 0.5:
            fields["visual_embedding"] = [random.gauss(0, 1) for _ in range(16)]
    elif "caption" in task:
        return {"caption_embeddings": vectors(random, 28, 1)[0], "candidate_embeddings": vectors(random, 24, 6)}
    elif "closure" in task or "picking" in task or "coherence" in task:
        fields["candidate_embeddings"] = vectors(random, 24, 6)
        if "picking" in task:
            fields["mask_position"] = random.randrange(len(page))
        if "coherence" in task and random.random() < 0.5:
            fields["candidate_position"] = random.randrange(-1, 12)
    elif random.random() < 0.5:
        return page
    return fields

def request(random):
    """A sound request, and whether it still is one: half of them are damaged."""
    task = random.choice(TASKS)
    inputs = [question(random, task) for _ in range(random.randint(1, 4))]
    data = {"inputs": inputs[0] if random.random() < 0.3 else inputs, "parameters": {"task": task}}
    if random.random() < 0.5:
        return data, True
    strange = random.choice(STRANGE)
    damage = random.randrange(7)
    if damage == 0:
        return strange, False
    if damage == 1:
        data["inputs"] = strange
    elif damage == 2:
        data["parameters"] = strange
    elif damage == 3:
        data["parameters"] = {random.choice(["task", "modality", "return_panels", "other", "\\ud800"]): strange}
    elif damage == 4 and isinstance(inputs[0], dict):
        inputs[0][random.choice([*FIELDS, "mask_position", "visual_embedding", "candidate_position", "labels", "\\ud800"])] = strange
    elif damage == 5 and isinstance(inputs[0], dict):
        inputs[0].pop(random.choice(list(inputs[0])))
    else:
        inputs.append(strange)
    return data, False
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    build("pretraining").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def handler(folder):
    return EndpointHandler(str(folder))


def as_json(value):
    return json.loads(json.dumps(value, default=lambda other: other.tolist()))


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_the_pipelines(task, folder, handler):
    asked = questions(TASKS[task])
    expected = pipeline(task, model=str(folder))(asked)
    expected = [{"strip_embedding": each} if isinstance(each, np.ndarray) else each for each in expected]
    body = as_json({"inputs": asked, "parameters": {"task": task}})
    answers = as_json(handler(body))
    one = as_json(handler({**body, "inputs": body["inputs"][1]}))
    if task == "comic-strip-embedding":
        expected, answers = ([np.array(each["strip_embedding"]) for each in part] for part in (expected, answers))
        one = np.array(one["strip_embedding"])
    assert_same_answers(answers, expected)
    assert_same_answers([one], expected[1:2])


def test_a_page_alone_is_embedded(handler):
    page = questions("encoder")[0]["panel_embeddings"].tolist()
    answer = handler({"inputs": page})
    assert list(answer) == ["strip_embedding"] and len(answer["strip_embedding"]) == 32
    assert handler({"inputs": [page]}) == [answer]
    whole = handler({"inputs": page, "parameters": {"return_panels": True}})
    assert np.array(whole["contextualized_panels"]).shape == (5, 32)
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole


PAGE = [[1.0] * 24]
PICKING = {"task": "comic-panel-picking"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, 'object with the field "inputs"'),
        ({"parameters": {}}, 'object with the field "inputs"'),
        ({"inputs": PAGE, "parameters": []}, '"parameters" must be an object'),
        ({"inputs": PAGE, "parameters": {"task": "fill-mask"}}, "`task` is 'fill-mask' but must be one of comic-"),
        ({"inputs": PAGE, "parameters": {"task": 3}}, "`task` must be of type str"),
        ({"inputs": PAGE, "parameters": {"\ud800": 3}}, r"There is no parameter '\ud800'"),
        ({"inputs": PAGE, "parameters": {"modality": "text"}}, "comic-strip-embedding has no parameter `modality`"),
        ({"inputs": []}, "a list of 1 to 64"),
        ({"inputs": [PAGE] * 65}, "a list of 1 to 64"),
        ({"inputs": PAGE * 13}, "`panel_embeddings` has 13 vectors but at most 12"),
        ({"inputs": [[1.0] * 1000]}, "1000 numbers but at most 28"),
        ({"inputs": [[1.0] * 24, [1.0]]}, "vectors of one length"),
        ({"inputs": [["1"] * 24]}, "numbers only"),
        ({"inputs": [[True] * 24]}, "numbers only"),
        ({"inputs": [[float("nan")] * 24]}, "NaN, infinity or a number outside float32"),
        ({"inputs": [[float("inf")] * 24]}, "NaN, infinity or a number outside float32"),
        ({"inputs": [[10**400] * 24]}, "NaN, infinity or a number outside float32"),
        ({"inputs": {"panels": PAGE}}, "There is no input 'panels' of comic-strip-embedding, only panel_embeddings."),
        (
            {"inputs": {"candidate_embeddings": PAGE}, "parameters": {"task": "comic-caption-relevance"}},
            "`caption_embeddings` is missing",
        ),
        (
            {"inputs": PAGE, "parameters": {"task": "comic-caption-relevance"}},
            "There is no input 'panel_embeddings' of comic-caption-relevance, only caption_embeddings, candidate_emb",
        ),
        (
            {
                "inputs": {"panel_embeddings": PAGE, "candidate_embeddings": PAGE, "candidate_position": 1.5},
                "parameters": {"task": "comic-character-coherence"},
            },
            "`candidate_position` must be a whole number",
        ),
        (
            {
                "inputs": {"panel_embeddings": PAGE, "candidate_embeddings": PAGE * 129, "mask_position": 0},
                "parameters": PICKING,
            },
            "`candidate_embeddings` has 129 vectors but at most 128",
        ),
        ({"inputs": {"panel_embeddings": PAGE}, "parameters": PICKING}, "`mask_position` must be a whole number"),
        (
            {"inputs": {"panel_embeddings": PAGE, "mask_position": 0.0}, "parameters": PICKING},
            "`mask_position` must be a whole number",
        ),
        (
            {"inputs": {"panel_embeddings": PAGE, "mask_position": 0}, "parameters": PICKING},
            "`candidate_embeddings` is missing",
        ),
    ],
)
def test_wrong_requests_get_a_message_and_a_status(data, message, handler):
    answer = handler(data)
    assert set(answer) == {"error", "status"} and answer["status"] == 400
    assert message in answer["error"] and "Traceback" not in answer["error"]
    answer["error"].encode("utf-8")


def test_a_fault_of_the_server_is_told_from_one_of_the_request(handler, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("/secret/path: out of memory")

    monkeypatch.setitem(handler.pipelines, "comic-strip-embedding", fail)
    assert handler({"inputs": PAGE}) == {"error": "The request could not be answered.", "status": 500}


def test_a_checkpoint_of_one_head_serves_its_task(tmp_path):
    build("visual_closure").save_pretrained(tmp_path)
    handler = EndpointHandler(str(tmp_path))
    assert set(handler.pipelines) == {"comic-visual-closure"}
    assert handler({"inputs": PAGE, "parameters": PICKING})["status"] == 400
    question = as_json(questions("visual_closure"))[0]
    assert "index" in handler({"inputs": question}), "its task needs no name"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["inputs", "parameters", "task", "panel_embeddings", "mask_position"]), inner
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(anything)
def test_any_json_is_answered(handler, value):
    for data in (
        value,
        {"inputs": value},
        {"inputs": PAGE, "parameters": value},
        {"inputs": {"panel_embeddings": value}},
    ):
        json.dumps(handler(data), allow_nan=False).encode()


@pytest.mark.thorough
def test_pipeline_and_handler_without_the_package(folder):
    """A new interpreter imports handler.py from the folder as an endpoint does, and answers 1,000 drawn requests."""
    asked = {task: as_json(questions(name)) for task, name in TASKS.items()}
    (folder / "asked.json").write_text(json.dumps(asked))
    (folder / "requests_drawn.py").write_text(REQUESTS)
    run_without_package(
        """
        import importlib.util, json, logging, random, psutil
        from transformers import pipeline

        sys.path.insert(0, folder)
        asked, answers = json.load(open(f"{folder}/asked.json")), {"pipeline": {}, "handler": {}}
        for task, inputs in asked.items():
            serving = pipeline(task, model=folder, trust_remote_code=True)
            assert type(serving).__module__.startswith("transformers_modules."), type(serving)
            found = serving(inputs, batch_size=3)
            answers["pipeline"][task] = found if isinstance(found[0], dict) else [each.tolist() for each in found]

        spec = importlib.util.spec_from_file_location("handler", f"{folder}/handler.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        handler = module.EndpointHandler(folder)
        for task, inputs in asked.items():
            body = json.loads(json.dumps({"inputs": inputs, "parameters": {"task": task}}))
            answers["handler"][task] = json.loads(json.dumps(handler(body)))
        page = inputs[0]["panel_embeddings"]
        both = [each({"inputs": page})["strip_embedding"] for each in (handler, module.EndpointHandler())]
        assert all(abs(a - b) < 1e-5 for a, b in zip(*both, strict=True)), both
        json.dump(answers, open(f"{folder}/answers.json", "w"))

        from requests_drawn import request
        chance, process, memory, sound = random.Random(0), psutil.Process(), [], 0
        for number in range(1000):
            data, is_sound = request(chance)
            answer = handler(data)
            text = json.dumps(answer, allow_nan=False)
            failed = isinstance(answer, dict) and "error" in answer
            assert not failed or answer["status"] == 400 and "Traceback" not in text, (number, text[:500])
            assert not (is_sound and failed), (number, text[:500])
            sound += is_sound
            if number % 100 == 99:
                memory.append(process.memory_info().rss / 2**20)
        assert 400 < sound < 600, sound
        assert memory[-1] - memory[1] < 20, memory
        """,
        folder,
    )
    answers = json.loads((folder / "answers.json").read_text())
    for task, inputs in asked.items():
        expected, found = (
            pipeline(task, model=str(folder))(inputs),
            (answers["pipeline"][task], answers["handler"][task]),
        )
        if task == "comic-strip-embedding":
            found = [np.array(found[0]), np.array([each["strip_embedding"] for each in found[1]])]
        for each in found:
            assert_same_answers(each, expected)
