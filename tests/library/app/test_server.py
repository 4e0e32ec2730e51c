"""The app as it runs: what it answers, and what it refuses."""

from __future__ import annotations

import asyncio
import http.server
import json
import socket
import threading

import pytest

pytest.importorskip("gradio", reason="Gradio is not installed")
httpx = pytest.importorskip("httpx")

from modeling_comicseq.library.app.collection import Collection  # noqa: E402
from modeling_comicseq.library.app.gate import MOST_REQUEST_BYTES, is_allowed  # noqa: E402

from .serving import API, SEARCH, Hostile, served  # noqa: E402
from .small_index import SmallIndex  # noqa: E402
from .test_views import Tags, judge_last  # noqa: E402

PAGE = "book 0/page_01.png"
TAGS = {
    "p",
    "ol",
    "ul",
    "li",
    "button",
    "img",
    "span",
    "div",
    "h3",
    "svg",
    "circle",
    "title",
    "meter",
    "details",
    "summary",
    "pre",
}


@pytest.fixture(scope="module")
def address():
    with served(Collection(SmallIndex()), judge_last) as address:
        yield address


def ask(address: str, name: str, data: object) -> str:
    """What the API answers: the HTML or the sentence."""
    begun = httpx.post(f"{address}{API}/call/{name}", json={"data": data}, timeout=60)
    if begun.status_code != 200:
        return begun.json()["error"]
    told = httpx.get(f"{address}{API}/call/{name}/{begun.json()['event_id']}", timeout=60).text
    return read(told)


def read(told: str) -> str:
    """What stands in the last event of a stream."""
    answer = json.loads(told.strip().rsplit("data: ", 1)[1])
    return answer["error"] if isinstance(answer, dict) else str(answer[-1])


def test_the_page_is_served_and_names_no_font_service(address):
    page = httpx.get(address)
    assert page.status_code == 200 and "ComicSeq" in page.text
    style = httpx.get(f"{address}/theme.css").text
    assert "system-ui" in style and "fonts.googleapis" not in page.text + style
    assert "default-src 'self'" in page.headers["content-security-policy"]


def test_the_api_answers_in_html_and_in_sentences(address):
    assert "12 pages nearest to “a witch”" in ask(address, "search", SEARCH)
    assert "data-page" in ask(address, "page", [PAGE])
    assert "Choose the one" in ask(address, "ask", ["next", PAGE, "2"])
    assert "is the panel of the book" in ask(address, "answer", ["next", PAGE, "2", "1"])
    assert "There is no page" in ask(address, "page", ["/etc/passwd"])
    assert ask(address, "page", []) == "0 values were given where 1 are needed: Page."
    assert "not in the list of choices" in ask(address, "search", [*SEARCH[:3], "shelf", *SEARCH[4:]])
    assert "not understood" in ask(address, "nothing", [])
    assert "not understood" in ask(address, "search", {"a": 1})


@pytest.fixture
def fetched(monkeypatch):
    """What Gradio would have fetched for a request; it refuses this machine's own addresses, but no others."""
    import gradio.processing_utils

    asked: list[str] = []

    async def fetch(url: str, *arguments: object) -> str:
        asked.append(url)
        raise ValueError("nothing is fetched in tests")

    monkeypatch.setattr(gradio.processing_utils, "async_ssrf_protected_download", fetch)
    monkeypatch.setattr(gradio.processing_utils, "async_ssrf_protected_get", fetch)
    return asked


def test_no_address_is_fetched_for_a_request(address, fetched):
    file = {
        "path": "http://example.org/x.png",
        "url": "http://example.org/x.png",
        "meta": {"_type": "gradio.FileData"},
    }
    for place in range(len(SEARCH)):
        for value in (file, [file], {"a": [file]}):
            answer = ask(address, "search", [*SEARCH[:place], value, *SEARCH[place + 1 :]])
            assert "must be a text, a number or a truth" in answer
    assert fetched == []


def test_a_client_of_gradio_works(address):
    client = pytest.importorskip("gradio_client").Client(address, verbose=False)
    assert "12 pages nearest" in client.predict(*SEARCH, api_name="/search")


@pytest.mark.parametrize(
    "content", [b"{bad", b"", b"[1]", b'{"data": 3}', b'{"fn_index": 9999, "data": [], "session_hash": "x"}']
)
def test_bodies_that_are_no_request_are_told(address, content):
    answer = httpx.post(f"{address}{API}/queue/join", content=content)
    assert answer.status_code == 400 and "not understood" in answer.json()["error"]


def test_long_bodies_are_refused_whatever_they_say_of_their_length(address):
    def parts():
        for _ in range(MOST_REQUEST_BYTES // (1 << 20) + 2):
            yield b"x" * (1 << 20)

    whole = httpx.post(f"{address}{API}/queue/join", content=b"".join(parts()))
    assert whole.status_code == 413 and "smaller picture" in whole.json()["error"]
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:  # in chunks, without a length
        connection.sendall(b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for part in parts():
                connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            connection.sendall(b"0\r\n\r\n")
        except OSError:  # it has answered and closed already
            pass
        assert b"413" in connection.recv(100)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(
            ("GET", f"{API}/file=/etc/passwd"),
            ("GET", f"{API}/file=http://localhost/"),
            ("GET", f"{API}/proxy=http://localhost/"),
        ),
        *(("POST", f"{API}/upload"), ("GET", "/static/../x"), ("GET", "/monitoring"), ("GET", "/docs"), ("PUT", "/")),
        *(
            ("POST", f"{API}/component_server"),
            ("POST", f"{API}/run/search"),
            ("GET", f"{API}/custom_component/a/b/c/d"),
        ),
        *(("POST", f"{API}/vibe-edit"), ("POST", "/login"), ("GET", f"{API}/deep_link"), ("DELETE", "/config")),
    ],
)
def test_what_the_page_does_not_need_is_refused(method, path):
    assert not is_allowed(method, path)


class Trap(http.server.BaseHTTPRequestHandler):
    """Notes who comes."""

    came: list[str] = []

    def do_GET(self):
        self.came.append(self.path)
        self.send_response(200)
        self.end_headers()

    do_HEAD = do_POST = do_GET

    def log_message(self, *arguments):
        pass


@pytest.fixture
def trap():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Trap)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Trap.came.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def check(answer: str, secret: str, is_sentence: bool = False) -> None:
    """No answer holds a secret, a traceback, or anything that a browser runs."""
    assert secret not in answer and "root:x:" not in answer and "Traceback" not in answer
    tags = Tags(answer)
    if not is_sentence:
        assert {name for name, _ in tags.tags} <= TAGS, answer[:500]
        for _, attributes in tags.tags:
            assert not [
                name for name in attributes if name.startswith("on") or name in ("href", "formaction", "srcdoc")
            ]
            assert (attributes.get("src") or "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")


@pytest.mark.thorough
def test_a_thousand_hostile_requests_break_nothing(address, tmp_path, trap, fetched):
    secret = tmp_path / "secret.png"
    secret.write_text("what nobody may read")
    hostile = Hostile(7, str(secret), trap, PAGE)
    counts: dict[int, int] = {}

    async def one(client: httpx.AsyncClient, number: int) -> None:
        if number % 2:
            answer = await client.get(address + hostile.path())
        else:
            name, data = hostile.call()
            answer = await client.post(f"{address}{API}/call/{name}", json={"data": data})
            if answer.status_code == 200:
                told = (await client.get(f"{address}{API}/call/{name}/{answer.json()['event_id']}")).text
                check(read(told), "what nobody may read", is_sentence=told.startswith("event: error"))
        counts[answer.status_code] = counts.get(answer.status_code, 0) + 1
        assert "what nobody may read" not in answer.text and "root:x:" not in answer.text
        assert answer.status_code == 200 or answer.json()["error"].endswith(".")

    async def all_of_them() -> None:
        # A connection that is kept may be closed by the server just when it is used again.
        alone = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=120, limits=alone) as client:
            for start in range(0, 1000, 10):  # ten at once
                await asyncio.gather(*(one(client, number) for number in range(start, start + 10)))

    asyncio.run(all_of_them())
    assert set(counts) <= {200, 400, 404} and counts[200] > 300 and counts[404] > 300
    assert not Trap.came and not fetched
    assert "12 pages nearest" in ask(address, "search", SEARCH)  # it lives


def test_a_thousand_hostile_events_break_nothing(tmp_path):
    """What a click tells comes from a browser, or from anyone."""
    import gradio as gr

    from modeling_comicseq.library.app import blocks

    collection = Collection(SmallIndex(books=2, pages=3))
    wiring = blocks._Wiring(collection, judge_last, *[None] * 4)
    secret = tmp_path / "secret.png"
    secret.write_text("what nobody may read")
    hostile = Hostile(11, str(secret), "http://127.0.0.1:9", "book 0/page_01.png")
    take = [
        wiring.go_to_page,
        wiring.go_to_search,
        wiring.choose,
        wiring.guess,
        lambda event: wiring.go_to_question("next", event),
    ]
    told = 0
    for number in range(1000):
        answer = take[number % len(take)](gr.EventData(None, hostile.event()))
        shown = answer[-1] if isinstance(answer, list) else answer
        told += "cs-fault" in shown
        check(shown, "what nobody may read")
    assert 300 < told < 900  # of both kinds
