# Copyright 2026 The ComicSeq authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What an endpoint takes of a question about a page: pictures as base64, within bounds; never a path or an address"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from typing import Any

from .pictures_comicpage import PictureProblem, check_header

MAX_PICTURE_BYTES = 16 << 20
MAX_PICTURE_PIXELS = 40_000_000
# Of all questions of a request together.
MAX_BYTES = 48 << 20
MAX_PANELS = 512
# Characters of a panel, of a candidate or of a caption, and texts of a panel.
MAX_TEXT, MAX_TEXTS = 4000, 64
MAX_CANDIDATES = 128

PREFIX = re.compile(r"data:image/[\w.+-]{1,40};base64,")


class PageRequest:
    """
    Checks the questions of one request, one after the other, and counts what they hold together.

    Args:
        take_vectors: Checks the boxes of a page: gets their name, the JSON value and how many there may be.
        max_panels: Panels of a page.
    """

    def __init__(self, take_vectors: Callable[[str, Any, int], Any], max_panels: int):
        self.take_vectors, self.max_panels = take_vectors, max_panels
        self.num_bytes = self.num_panels = 0

    def take(self, question: dict[str, Any]) -> dict[str, Any]:
        """
        A question as a pipeline takes it, pictures as the content of a file. Numbers and words of which only some are
        possible are left to the pipeline.

        Raises:
            ValueError: Something is of another kind, or too large.
        """
        taken: dict[str, Any] = {}
        told = [question.get(name) for name in ("boxes", "texts")]  # of the same panels
        self.count_panels(max(len(each) if isinstance(each, list) else 0 for each in told))
        for name, value in question.items():
            if value is None:
                continue
            if name == "image":
                taken[name] = self.take_picture("`image`", value)
            elif name == "boxes":
                taken[name] = self.take_vectors("boxes", value, self.max_panels)
            elif name == "texts":
                texts = take_list("`texts`", value, self.max_panels)
                taken[name] = [take_texts(f"`texts` {place}", each) for place, each in enumerate(texts)]
            elif name == "candidates":
                candidates = take_list("`candidates`", value, MAX_CANDIDATES)
                self.count_panels(len(candidates))
                taken[name] = [self.take_candidate(place, each) for place, each in enumerate(candidates)]
            elif name.startswith("candidate_") and name.endswith("s"):
                candidates = take_list(f"`{name}`", value, MAX_CANDIDATES)
                self.count_panels(len(candidates))
                taken[name] = [take_text(f"`{name}` {place}", each) for place, each in enumerate(candidates)]
            elif name in ("caption", "text"):
                taken[name] = take_text(f"`{name}`", value)
            elif isinstance(value, (str, bool, int, float)):
                taken[name] = value[:40] if isinstance(value, str) else value
            else:
                raise ValueError(f"`{name}` must be a number or a word.")
        return taken

    def take_candidate(self, place: int, value: Any) -> dict[str, Any]:
        """A candidate, an object with a picture, a text or both."""
        if not isinstance(value, dict) or not value or value.keys() - {"image", "text"}:
            raise ValueError(f"`candidates` {place} must be an object with `image`, `text` or both.")
        taken: dict[str, Any] = {}
        if value.get("image") is not None:
            taken["image"] = self.take_picture(f"`image` of `candidates` {place}", value["image"])
        if value.get("text") is not None:
            taken["text"] = take_texts(f"`text` of `candidates` {place}", value["text"])
        return taken

    def take_picture(self, what: str, value: Any) -> bytes:
        """The content of a picture's file, of a known kind and a size that can be decoded."""
        if not isinstance(value, str):
            raise ValueError(f"{what} must be a picture's file as base64, a string.")
        prefix = PREFIX.match(value)
        value = value[prefix.end() :] if prefix else value
        if len(value) > (MAX_PICTURE_BYTES * 4 // 3) * 80 // 76 + 8:  # with an end of line every 76 characters
            raise ValueError(f"{what} has more than {MAX_PICTURE_BYTES >> 20} MiB: send a smaller picture.")
        try:
            content = base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"{what} is no base64: paths and addresses are not read.") from None
        self.num_bytes += len(content)
        if len(content) > MAX_PICTURE_BYTES:
            raise ValueError(f"{what} has more than {MAX_PICTURE_BYTES >> 20} MiB: send a smaller picture.")
        if self.num_bytes > MAX_BYTES:
            raise ValueError(f"The request has pictures of more than {MAX_BYTES >> 20} MiB: send several requests.")
        try:
            check_header(content, MAX_PICTURE_PIXELS)
        except PictureProblem as problem:
            raise ValueError(f"{what} {problem}.") from None
        return content

    def count_panels(self, count: int) -> None:
        self.num_panels += count
        if self.num_panels > MAX_PANELS:
            raise ValueError(f"The request has more than {MAX_PANELS} panels and candidates: send several requests.")


def take_list(what: str, value: Any, most: int) -> list[Any]:
    """A list of 1 to `most` entries."""
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise ValueError(f"{what} must be a list of 1 to {most} entries.")
    return value


def take_texts(what: str, value: Any) -> list[str]:
    """The texts of a panel: a string, a list of strings, or null."""
    texts: Iterable[Any] = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or len(texts) > MAX_TEXTS:
        raise ValueError(f"{what} must be a string, or a list of at most {MAX_TEXTS} strings.")
    if sum(len(each) for each in texts if isinstance(each, str)) > MAX_TEXT:
        raise ValueError(f"{what} has more than {MAX_TEXT:,} characters.")
    return [take_text(what, each) for each in texts]


def take_text(what: str, value: Any) -> str:
    """A string of bounded length that can be written as UTF-8."""
    if not isinstance(value, str):
        raise ValueError(f"{what} must be a string.")
    if len(value) > MAX_TEXT:
        raise ValueError(f"{what} has more than {MAX_TEXT:,} characters.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds half of a character (a lone surrogate).") from None
    return value


__all__ = ["PageRequest"]
