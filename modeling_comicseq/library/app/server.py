"""Opens an index and a model, and starts the app."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ...errors import ComicSeqArgumentError
from ...hub import find_file
from .render import asset

if TYPE_CHECKING:
    import gradio

__all__ = ["launch", "launch_settings", "make_app"]

# Gradio asks other hosts where these are not set.
_ENVIRONMENT = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SHARE": "False", "GRADIO_NUM_PORTS": "1"}


def launch(
    index: str | Path,
    model: str | None = None,
    pages: str | Path | None = None,
    encoder: str | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    title: str = "ComicSeq",
) -> None:
    """Starts the app; it goes on until it is interrupted.

    Args:
        index: Folder or URL that `comicseq index` wrote.
        model: Checkpoint of a page model, which answers the app's questions.
        pages: Data set of pages, whose pictures are shown in place of the small ones of the index.
        encoder: Panel encoder that made the index's store, which reads the words and pictures of queries; by default the one
            that the store names.
        host: Address to listen at; `0.0.0.0` for all of the machine's.
        port: Port to listen at.
        title: Heading of the page.

    Raises:
        ComicSeqDataError: The index, the model or the pages cannot be opened, or do not fit one another.
        ComicSeqArgumentError: Gradio is not installed, or the port is not free.
    """
    _check_free(host, port)  # before seconds of imports
    blocks = make_app(index, model, pages, encoder, title)
    with TemporaryDirectory(prefix="comicseq-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # nothing is put there, as the gate lets no upload through
        try:
            blocks.launch(server_name=host, server_port=port, **launch_settings())
        except OSError:  # taken in the meantime
            raise _not_free(host, port) from None
        print(f"The app is at http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port} until Ctrl-C.", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:  # how it is ended
            print("The app has ended.", flush=True)
        finally:
            blocks.close(verbose=False)


def make_app(
    index: str | Path,
    model: str | None = None,
    pages: str | Path | None = None,
    encoder: str | None = None,
    title: str = "ComicSeq",
) -> gradio.Blocks:
    """The page of the app, which is not started yet; see `launch`."""
    os.environ |= _ENVIRONMENT
    try:
        from .blocks import build_blocks
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "gradio":
            raise
        raise ComicSeqArgumentError("The app needs Gradio: pip install 'comicseq[app]'.") from None
    from ..index import open_index
    from ..index.page_parts import PageParts
    from .collection import Collection
    from .judge import open_judge

    opened = open_index(index, encoder=encoder)
    made_by = (opened.about["model"] or {}).get("name")
    if model is not None and not _is_there(made_by):
        # The model that made the store was left behind: a page model has it in it, and is compared with it before use.
        opened = open_index(index, encoder=encoder, model=model)
    collection = Collection(opened, None if pages is None else PageParts(pages))
    return build_blocks(collection, None if model is None else open_judge(model, collection), title)


def _check_free(host: str, port: int) -> None:
    """Raises a `ComicSeqArgumentError` if nothing can listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind(address)
    except (OSError, UnicodeError, OverflowError):
        raise _not_free(host, port) from None


def _not_free(host: str, port: int) -> ComicSeqArgumentError:
    return ComicSeqArgumentError(
        f"The app cannot listen at {host}, port {port}: it is taken or not this machine's; choose another --port or --host."
    )


def _is_there(name: str | None) -> bool:
    """Whether a model can be opened by its name."""
    try:
        return name is not None and find_file(name, "config.json") is not None
    except (OSError, ValueError):  # a path of another machine, which is no name on the Hub
        return False


def launch_settings() -> dict[str, Any]:
    """What Gradio's `launch` is told: one machine, no share, no telemetry, nothing of the disk, the gate before all."""
    from starlette.middleware import Middleware

    from .gate import Gate
    from .theme import app_theme

    return {
        "theme": app_theme(),
        "css": asset("app.css"),
        "share": False,
        "ssr_mode": False,  # it would start Node
        "mcp_server": False,
        "pwa": False,
        "run_history": False,
        "enable_monitoring": False,
        "footer_links": [],
        "allowed_paths": [],
        "max_file_size": 1,
        "state_session_capacity": 200,
        "quiet": True,
        "show_error": True,
        "prevent_thread_lock": True,
        "app_kwargs": {"middleware": [Middleware(Gate)], "docs_url": None, "redoc_url": None, "openapi_url": None},
    }
