"""The endpoint with pages: pictures as base64, within bounds, whatever the request is."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from transformers import pipeline

from modeling_comicseq.model import requests_comicpage
from modeling_comicseq.model.handler import EndpointHandler
from tests.model.test_pipeline_comicseq import TASKS, assert_same_answers
from tests.model.test_pipeline_pages import CANDIDATE_TEXTS, CLOZE, EMBED, ORDER, PICK, question
from tests.model.test_remote_code import run_without_package
from tests.page_inputs import BOXES, as_base64, draw_page, draw_picture, save_page_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page_model")
    save_page_model(folder)
    return folder


@pytest.fixture(scope="module")
def handler(folder):
    return EndpointHandler(str(folder))


def as_json(value):
    """A question as a request holds it."""
    if isinstance(value, Image.Image):
        return as_base64(value)
    if isinstance(value, list):
        return [as_json(each) for each in value]
    if isinstance(value, dict):
        return {name: as_json(each) for name, each in value.items()}
    return value


def json_question(task: str, seed: int = 0) -> dict:
    asked = as_json(question(task, seed))
    if "candidates" in asked:
        asked["candidates"] = [{"image": each} if isinstance(each, str) else each for each in asked["candidates"]]
    return json.loads(json.dumps(asked))


def ask(handler, inputs, task: str = EMBED, **parameters):
    answer = handler({"inputs": inputs, "parameters": {"task": task, **parameters}})
    json.dumps(answer, allow_nan=False).encode()
    return answer


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_the_pipelines(task, folder, handler):
    expected = pipeline(task, model=str(folder))([question(task, seed) for seed in range(3)])
    answers = ask(handler, [json_question(task, seed) for seed in range(3)], task)
    one = ask(handler, json_question(task, 1), task)
    if task == EMBED:
        answers, one = [np.array(each["strip_embedding"]) for each in answers], np.array(one["strip_embedding"])
    assert_same_answers(answers, expected)
    assert_same_answers([one], expected[1:2])


def test_a_picture_alone(handler):
    """With a prefix or without, with ends of line in it, in any of the formats, one or several."""
    content = as_base64(draw_page())
    expected = ask(handler, content, return_panels=True)
    assert np.allclose(expected["panel_boxes"], BOXES, atol=0.01) and expected["order_origin"] == "XY-cut"
    lines = "\n".join(content[start : start + 76] for start in range(0, len(content), 76))
    for same in ("data:image/png;base64," + content, lines, {"image": content}):
        assert ask(handler, same, return_panels=True) == expected
    assert [each["panel_boxes"] for each in ask(handler, [content] * 2, return_panels=True)] == [
        expected["panel_boxes"]
    ] * 2
    for kind in ("JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        assert len(ask(handler, as_base64(draw_page(), kind), return_panels=True)["panel_boxes"]) == 4


def test_a_page_lies_as_its_exif_says(handler):
    exif = Image.Exif()
    exif[0x0112] = 8  # a quarter turn against the clock shows it upright
    turned, buffer = draw_page().transpose(Image.Transpose.ROTATE_270), io.BytesIO()
    turned.save(buffer, "PNG", exif=exif)
    upright = ask(handler, as_base64(draw_page()), return_panels=True)
    assert ask(handler, base64.b64encode(buffer.getvalue()).decode(), return_panels=True) == upright


def test_vectors_are_answered_as_before(handler):
    page = np.random.default_rng(0).normal(size=(3, 24)).tolist()
    assert len(ask(handler, page)["strip_embedding"]) == 32
    assert ask(handler, {"panel_embeddings": page}) == ask(handler, page)
    mixed = ask(handler, [{"panel_embeddings": page}, json_question(EMBED)])
    assert mixed[0].keys() == mixed[1].keys() == {"strip_embedding"}


PICTURE, PAGE = as_base64(draw_picture(0)), as_base64(draw_page())
LIMIT = requests_comicpage.MAX_PICTURE_BYTES


def bomb() -> str:
    return as_base64(Image.new("1", (14_000, 14_000)))


@pytest.mark.parametrize(
    ("task", "inputs", "message"),
    [
        (EMBED, "/etc/passwd", "no base64: paths and addresses are not read"),
        (EMBED, "https://example.org/page.png", "no base64: paths and addresses are not read"),
        (EMBED, "file:///etc/hostname", "no base64"),
        (EMBED, "page.png", "no base64"),
        (EMBED, "", "no picture of a known kind"),
        (EMBED, "data:text/html;base64," + PICTURE, "no base64"),
        (EMBED, base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode(), "no picture of a known kind"),
        (EMBED, base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0\n").decode(), "no picture of a known kind"),
        (EMBED, as_base64(draw_page(), "PDF"), "no picture of a known kind"),
        (EMBED, as_base64(draw_page(), "PPM"), "no picture of a known kind"),
        (EMBED, PAGE[: len(PAGE) // 8 * 4], "is cut off or damaged"),
        (EMBED, as_base64(Image.new("RGB", (7000, 6000))), "has 7,000 × 6,000 pixels"),
        (EMBED, bomb(), "196,000,000 pixels"),
        (EMBED, as_base64(Image.new("RGB", (15, 300))), "has only 15 × 300 pixels"),
        (EMBED, "A" * (LIMIT * 2), "has more than 16 MiB"),
        (EMBED, {"image": 3}, "must be a picture's file as base64"),
        (EMBED, {"image": {"path": "/etc/passwd"}}, "must be a picture's file as base64"),
        (EMBED, {"image": [PAGE]}, "must be a picture's file as base64"),
        (EMBED, {"image": PAGE, "path": "x"}, "There is no input 'path' of comic-strip-embedding, only image, boxes"),
        (EMBED, {"image": PAGE, "panel_embeddings": [[1.0] * 24]}, "is a vector's name"),
        (EMBED, {"image": PAGE, "boxes": [[0, 0, 1, 1]] * 13}, "`boxes` has 13 vectors but at most 12"),
        (EMBED, {"image": PAGE, "boxes": [[0, 0, 1, "1"]]}, "numbers only"),
        (EMBED, {"image": PAGE, "boxes": [[0, 0, 1, float("nan")]]}, "NaN"),
        (EMBED, {"image": PAGE, "boxes": [[0, 0, 2, 1]]}, "is outside the page"),
        (EMBED, {"image": PAGE, "boxes": BOXES, "texts": ["a"] * 3}, "`texts` has 3 panels but `boxes` has 4"),
        (
            EMBED,
            {"image": PAGE, "boxes": BOXES, "texts": ["a" * 4001] * 4},
            "`texts` 0 has more than 4,000 characters",
        ),
        (EMBED, {"image": PAGE, "boxes": BOXES, "texts": [["a"] * 65] * 4}, "a list of at most 64 strings"),
        (EMBED, {"image": PAGE, "boxes": BOXES, "texts": ["a"] * 13}, "`texts` must be a list of 1 to 12 entries"),
        (EMBED, {"image": PAGE, "boxes": BOXES, "texts": [1] * 4}, "`texts` 0 must be a string, or a list"),
        (EMBED, {"texts": ["\ud800"]}, "half of a character"),
        (EMBED, {"image": PAGE, "reading_direction": "x" * 10_000}, "must be ltr or rtl"),
        (EMBED, {"image": PAGE, "reading_direction": ["ltr"]}, "`reading_direction` must be a number or a word"),
        (EMBED, {}, "`image` is missing"),
        (PICK, {"image": PAGE, "mask_position": 0, "candidates": PICTURE}, "`candidates` must be a list of 1 to 128"),
        (PICK, {"image": PAGE, "mask_position": 0, "candidates": [PICTURE]}, "must be an object with `image`"),
        (PICK, {"image": PAGE, "mask_position": 0, "candidates": [{"text": "a"}] * 129}, "a list of 1 to 128 entries"),
        (
            PICK,
            {"image": PAGE, "mask_position": 0, "candidates": [{"image": "x.png"}]},
            "`image` of `candidates` 0 is no",
        ),
        (PICK, {"image": PAGE, "mask_position": 0, "candidates": [{"image": PICTURE, "url": "x"}]}, "an object with"),
        (PICK, {"image": PAGE, "mask_position": 10**400, "candidates": [{"text": "a"}]}, "`mask_position` must be"),
        (PICK, {"image": PAGE, "candidates": [{"text": "a"}]}, "`mask_position` must be a whole number"),
        (
            PICK,
            [{"texts": ["a"] * 4, "mask_position": 0, "candidates": [{"text": "a"}] * 128}] * 5,
            "more than 512 panels",
        ),
        (EMBED, [{"texts": ["a"] * 12}] * 43, "Input 42: The request has more than 512 panels"),
        (
            CLOZE,
            [{"texts": ["a"] * 4, "mask_position": 0, "candidate_texts": ["a"] * 128}] * 5,
            "more than 512 panels",
        ),
        (
            CLOZE,
            {"image": PAGE, "mask_position": 0, "candidate_texts": [None]},
            "`candidate_texts` 0 must be a string",
        ),
        (ORDER, {"image": PAGE, "candidate_texts": CANDIDATE_TEXTS}, "There is no input 'candidate_texts'"),
        ("comic-caption-relevance", {"caption": 1, "candidates": [{"text": "a"}]}, "`caption` must be a string"),
    ],
)
def test_wrong_requests_get_a_sentence(task, inputs, message, handler):
    answer = ask(handler, inputs, task)
    assert set(answer) == {"error", "status"} and answer["status"] == 400, answer
    assert message in answer["error"] and len(answer["error"]) <= 1000, answer


def test_a_request_has_bounds(handler, monkeypatch):
    """Of all its pictures together; the input that is to blame is named."""
    monkeypatch.setattr(requests_comicpage, "MAX_BYTES", 100_000)
    import sys

    for name, module in list(sys.modules.items()):  # the handler has the folder's own copy
        if name.endswith("requests_comicpage"):
            monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    noise = as_base64(Image.effect_noise((200, 200), 80))
    answer = ask(handler, [noise] * 4)
    assert answer["status"] == 400 and "Input 2: The request has pictures of more than" in answer["error"]
    assert "a list of 1 to 64" in ask(handler, [PICTURE] * 65)["error"]


# Sound requests about pages, half of them damaged, drawn from a seed.
REQUESTS = '''
import base64, io, random
import numpy as np
from PIL import Image

def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value

def picture(random, kind=None, size=None):
    size = size or (random.randint(16, 90), random.randint(16, 90))
    mode = random.choice(["RGB", "L", "1", "P", "RGBA", "LA", "I;16"])
    image = Image.frombytes("RGB", size, random.randbytes(size[0] * size[1] * 3))
    kind = kind or random.choice(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
    mode = {"JPEG": random.choice(["RGB", "L", "CMYK"]), "WEBP": random.choice(["RGB", "RGBA"]), "GIF": "P",
            "BMP": random.choice(["RGB", "L", "1", "P"]), "TIFF": random.choice(["RGB", "CMYK", "L"])}.get(kind, mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = random.choice([1, 3, 6, 8])
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"exif": exif} if kind in ("PNG", "JPEG", "WEBP") else {}))
    return buffer.getvalue()

def text(content, random=None):
    prefix = "data:image/png;base64," if random is not None and random.random() < 0.3 else ""
    return prefix + base64.b64encode(content).decode()

def bomb(size):
    buffer = io.BytesIO()
    Image.new("1", size).save(buffer, "PNG")
    return buffer.getvalue()

def damaged(random):
    """A file of which some bytes are others, or which is cut off."""
    content = bytearray(picture(random))
    if random.random() < 0.3:
        return bytes(content[: random.randrange(len(content))])
    for _ in range(random.randint(1, 30)):
        content[random.randrange(min(len(content), random.choice([40, 200, 10**6])))] = random.randrange(256)
    return bytes(content)

BOMBS = [text(bomb(size)) for size in ((14000, 14000), (9000, 4500), (2, 100000), (1, 1))]
STRANGE = [
    None, True, 0, -1, 3, 10**400, 1.5, 1e39, float("nan"), float("inf"), "", "text", "/etc/passwd", "http://localhost/",
    "file:///etc/passwd", "\\\\ud800", "\\\\x00", "A", "A" * 7, [], {}, [[]], [None], ["a"], {"a": 1}, nested(5000), "x" * 10**6,
    "A" * (23 << 20), [0.0] * 10**5, [[0, 0, 1, 1]] * 1000, [[0, 0, 0, 0]], [[0, 0, 1e-9, 1e-9]], [[-1, 0, 1, 1]], [[1, 1, 0, 0]],
    ["word"] * 10**4, "word " * 10**4, [["word"] * 1000], {"image": None}, {"text": None}, [{"image": 1}], [{}], *BOMBS,
    text(b""), text(b"%PDF-1.7"), text(b"<svg/>"), text(b"\\\\xff\\\\xd8\\\\xff"), "data:image/png;base64,", "data:,x",
]
TASKS = ["comic-strip-embedding", "comic-panel-picking", "comic-visual-closure", "comic-text-closure", "comic-text-cloze",
         "comic-reading-order", "comic-character-coherence", "comic-caption-relevance"]
NAMES = ["image", "boxes", "texts", "reading_direction", "candidates", "candidate_texts", "caption", "mask_position",
         "candidate_position", "panel_embeddings", "labels", "\\\\ud800"]
WORDS = ["cat", "where is the dog", "", "no", "dog ?", "\\\\u0000", "\\\\U0001f600"]

def candidate(random):
    made = {}
    if random.random() < 0.7:
        made["image"] = text(picture(random), random)
    if not made or random.random() < 0.5:
        made["text"] = random.choice(["cat", "where is the dog"])
    return made

def question(random, task):
    if "caption" in task:
        return {"caption": "the cat", "candidates": [candidate(random) for _ in range(random.randint(1, 4))]}
    count = random.randint(1, 6)
    edges = sorted(random.uniform(0, 1) for _ in range(2 * count))
    boxes = [[0.1, edges[2 * row], 0.9, edges[2 * row + 1]] for row in range(count)]
    asked = {"image": text(picture(random, size=(100, 160)), random), "boxes": boxes}
    if random.random() < 0.7:
        asked["texts"] = [random.choice([random.choice(WORDS), [random.choice(WORDS)] * random.randint(0, 3), None]) for _ in boxes]
    elif random.random() < 0.4 and "closure" not in task:
        del asked["boxes"]
    if random.random() < 0.5:
        asked["reading_direction"] = random.choice(["ltr", "rtl"])
    if "cloze" in task or "picking" in task:
        asked["mask_position"] = random.randrange(count) if "boxes" in asked else 0
    if "cloze" in task:
        asked["candidate_texts"] = [random.choice(WORDS) for _ in range(random.randint(1, 4))]
    elif "closure" in task or "picking" in task or "coherence" in task:
        asked["candidates"] = [candidate(random) for _ in range(random.randint(1, 4))]
        if "coherence" in task and random.random() < 0.5:
            asked["candidate_position"] = random.randrange(-1, 12)
    elif "boxes" not in asked and random.random() < 0.5:
        return asked["image"]
    return asked

def request(random, is_damaged):
    task = random.choice(TASKS)
    inputs = [question(random, task) for _ in range(random.randint(1, 3))]
    data = {"inputs": inputs[0] if random.random() < 0.3 else inputs, "parameters": {"task": task}}
    if not is_damaged:
        return data
    strange, first = random.choice(STRANGE), inputs[0]
    damage = random.randrange(8)
    if damage == 0:
        data["inputs"] = strange
    elif damage == 1 and isinstance(first, dict) and "image" in first:
        first["image"] = text(damaged(random), random)
    elif damage == 2 and isinstance(first, dict) and "candidates" in first:
        first["candidates"][0] = random.choice([strange, {"image": text(damaged(random))}, {"image": strange}, {"text": strange}])
    elif damage == 3 and isinstance(first, dict):
        first.pop(random.choice(list(first)))
    elif damage == 4:
        inputs.append(strange)
        data["inputs"] = inputs
    elif isinstance(first, dict):
        first[random.choice(NAMES)] = strange
    else:
        data["inputs"] = strange
    return data
'''


@pytest.mark.slow
def test_pipeline_and_handler_without_the_package(folder):
    """
    A new interpreter imports handler.py from the folder as an endpoint does. Sound requests are answered; of damaged ones,
    500 get a sentence, the others an answer, none an error of the server; and memory stays bounded.
    """
    asked = {task: [json_question(task, seed) for seed in range(2)] for task in TASKS}
    (folder / "asked.json").write_text(json.dumps(asked))
    (folder / "requests_drawn.py").write_text(REQUESTS.replace("\\\\", "\\"))
    run_without_package(
        """
        import importlib.util, json, logging, random, psutil, base64, io
        from PIL import Image
        from transformers import pipeline

        sys.path.insert(0, folder)
        asked, answers = json.load(open(f"{folder}/asked.json")), {"pipeline": {}, "handler": {}}

        def decoded(value, name=""):
            if name == "image":
                return Image.open(io.BytesIO(base64.b64decode(value)))
            if isinstance(value, list):
                return [decoded(each) for each in value]
            return {name: decoded(each, name) for name, each in value.items()} if isinstance(value, dict) else value

        for task, inputs in list(asked.items())[:2]:
            serving = pipeline(task, model=folder, trust_remote_code=True)
            assert type(serving).__module__.startswith("transformers_modules."), type(serving)
            found = serving(decoded(inputs), batch_size=2)
            answers["pipeline"][task] = found if isinstance(found[0], dict) else [each.tolist() for each in found]

        spec = importlib.util.spec_from_file_location("handler", f"{folder}/handler.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        handler = module.EndpointHandler(folder)
        for task, inputs in asked.items():
            body = json.loads(json.dumps({"inputs": inputs, "parameters": {"task": task}}))
            answers["handler"][task] = json.loads(json.dumps(handler(body)))
        json.dump(answers, open(f"{folder}/answers.json", "w"))

        from requests_drawn import request
        chance, process, memory, refused = random.Random(0), psutil.Process(), [], 0
        for number in range(1000):
            is_damaged = number >= 100
            if refused == 500:
                break
            data = request(chance, is_damaged)
            answer = handler(data)
            said = json.dumps(answer, allow_nan=False)
            said.encode()
            failed = isinstance(answer, dict) and "error" in answer
            assert not failed or answer["status"] == 400 and "Traceback" not in said, (number, said[:500])
            assert not failed or len(answer["error"]) <= 1000 and ".." not in answer["error"], (number, said)
            assert is_damaged or not failed, (number, said[:500])
            refused += failed
            memory.append(process.memory_info().rss / 2**20)
        assert refused == 500, refused
        assert max(memory[200:]) - max(memory[:200]) < 60, (max(memory[:200]), max(memory[200:]))
        """,
        folder,
    )
    answers = json.loads((folder / "answers.json").read_text())
    for task in TASKS:
        expected = pipeline(task, model=str(folder))([question(task, seed) for seed in range(2)])
        for found in filter(None, (answers["pipeline"].get(task), answers["handler"][task])):
            if task == EMBED:
                found = [np.array(each["strip_embedding"] if isinstance(each, dict) else each) for each in found]
            assert_same_answers(found, expected)
