"""The app on a port of its own, and requests of every kind to it."""

from __future__ import annotations

import os
import random
import socket
import string
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .uploads import bomb, data_url, picture_url

API = "/gradio_api"
SEARCH = ["a witch", "", "", "strip", "both", "", False]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(collection: Any, judge: Any = None, title: str = "ComicSeq") -> Iterator[str]:
    """The address of a running app."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from modeling_comicseq.library.app.blocks import build_blocks
    from modeling_comicseq.library.app.server import launch_settings

    blocks, port = build_blocks(collection, judge, title), free_port()
    blocks.launch(server_name="127.0.0.1", server_port=port, **launch_settings())
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        blocks.close(verbose=False)


class Hostile:
    """Seeded requests: paths, addresses, SQL, HTML, numbers and pictures that nobody should send.

    Args:
        seed: Seed of the draws.
        secret: A file that no answer may hold the content of.
        address: An address that nothing may ask.
        page: A page that the index has.
    """

    def __init__(self, seed: int, secret: str, address: str, page: str):
        self.random = random.Random(seed)
        self.secret, self.address, self.page = secret, address, page
        self.words = [
            *("", " ", "\0", "a" * 5000, "😀" * 50, "‮drowssap", "NaN", "-1", "1e309", "null", "undefined", "{}", "[]"),
            *(
                "' OR 1=1 --",
                "'; DROP TABLE strips; --",
                "') UNION SELECT * FROM read_text('/etc/passwd') --",
                "\\'",
                "`",
            ),
            *("book_id = 'x' or true", "%' OR '%'='", "((((((((((", '"""', "*", "NOT", "AND OR", "+-~^:()[]", "\\"),
            *(
                "<script>alert(1)</script>",
                "<img src=x onerror=alert(1)>",
                "${alert(1)}",
                "{{alert(1)}}",
                "]]>",
                "<!--",
            ),
            *(
                "javascript:alert(1)",
                "data:text/html,<script>alert(1)</script>",
                '"><svg onload=alert(1)>',
                "&lt;b&gt;",
            ),
            *(
                secret,
                f"file://{secret}",
                f"../../..{secret}",
                "/etc/passwd",
                "..\\..\\windows\\win.ini",
                "/proc/self/environ",
            ),
            *(
                address,
                f"{address}/x.png",
                "http://169.254.169.254/latest/meta-data",
                "//localhost",
                "\\\\host\\share",
            ),
            *(page, f"{page} panel 1", f"{page} panel 99999999999999999999", f"{page}/..", page.upper(), page[:-1]),
        ]
        self.others = [
            None,
            True,
            False,
            0,
            -1,
            2**63,
            1e308,
            0.5,
            [],
            {},
            [[]],
            ["a"],
            {"path": secret},
            {"url": address},
        ]
        self.others += [
            {"path": "http://example.org/x", "meta": {"_type": "gradio.FileData"}},
            {"path": secret, "meta": {"_type": "gradio.FileData"}},
        ]
        self.pictures = [
            *(
                "data:",
                "data:;base64,",
                "data:image/png;base64,AAAA",
                "data:image/png;base64,%%%",
                f"data:image/png,{secret}",
            ),
            *(
                data_url(bomb(60_000, 60_000)),
                data_url(bomb(4_000, 4_000)),
                data_url(b"<svg onload='alert(1)'/>", "image/svg+xml"),
            ),
            *(
                data_url(b"GIF89a" + b"\xff" * 50, "image/gif"),
                data_url(b"%!PS\n(%pipe%id) (w) file"),
                picture_url((17, 19)),
            ),
            *(
                data_url(b"\xff\xd8\xff\xe0" + b"\0" * 40),
                data_url(b"RIFF\xff\xff\xff\xffWEBPVP8 "),
                data_url(b"II*\0\xff\xff\xff\xff"),
            ),
        ]

    def value(self) -> Any:
        """A text, mostly, or something that is none."""
        drawn = self.random.random()
        if drawn < 0.6:
            return self.random.choice(self.words)
        if drawn < 0.75:
            return "".join(self.random.choices(string.printable, k=self.random.randrange(60)))
        return self.random.choice(self.others if drawn < 0.9 else self.pictures)

    def path(self) -> str:
        """A path to ask for."""
        inside = self.random.choice(
            [self.secret, self.address, "/etc/passwd", "..%2f..%2fetc%2fpasswd", "%00", "pyproject.toml"]
        )
        start = self.random.choice(
            [
                "/file=",
                f"{API}/file=",
                f"{API}/file/",
                f"{API}/proxy=",
                "/static/",
                "/static/../",
                "/assets/",
                "/assets/%2e%2e/",
            ]
            + [
                f"{API}/stream/",
                f"{API}/custom_component/x/client/component/",
                "/svelte/",
                "/",
                "//",
                f"{API}/upload?x=",
                "/theme.css/",
            ]
            + [
                f"{API}/component_server/",
                f"{API}/vibe-code",
                f"{API}/run/search?",
                f"{API}/heartbeat/../",
                "/monitoring/",
                "/%2e%2e/",
            ]
        )
        return start + inside

    def event(self) -> Any:
        """What an event may tell."""
        data = {name: self.value() for name in ("page", "panel", "kind", "guess") if self.random.random() < 0.8}
        if self.random.random() < 0.5:
            data["page"], data["panel"] = self.page, self.random.choice(["2", "", "7", self.value()])
        return data if self.random.random() < 0.9 else self.value()

    def call(self) -> tuple[str, Any]:
        """The name of something the app can be asked, and the values."""
        name = self.random.choice(["search", "search", "page", "ask", "answer", "order", "find", "no_such", "step"])
        right = {
            "search": SEARCH,
            "page": [self.page],
            "ask": ["next", self.page, "2"],
            "order": [picture_url(), "ltr"],
        }
        data = list(right.get(name, [self.page]))
        for place in range(len(data)):
            if self.random.random() < 0.4:
                data[place] = self.value()
        if name in ("search", "order") and self.random.random() < 0.3:
            data[1 if name == "search" else 0] = self.random.choice(self.pictures)
        if self.random.random() < 0.1:
            data = self.random.choice([data[:-1], [*data, self.value()], self.value()])
        return name, data
