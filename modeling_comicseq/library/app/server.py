"""Opens an index and a model, and starts the app."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ...errors import ComicSeqArgumentError
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
    host: str = "127.0.0.1",
    port: int = 7860,
    title: str = "ComicSeq",
) -> None:
    """Starts the app; it goes on until it is interrupted.

    Args:
        index: Folder that `comicseq index` wrote.
        model: Checkpoint of a page model, which answers the app's questions.
        pages: Data set of pages, whose pictures are shown in place of the small ones of the index.
        host: Address to listen at; `0.0.0.0` for all of the machine's.
        port: Port to listen at.
        title: Heading of the page.

    Raises:
        ComicSeqDataError: The index, the model or the pages cannot be opened, or do not fit one another.
        ComicSeqArgumentError: Gradio is not installed, or the port is not free.
    """
    blocks = make_app(index, model, pages, title)
    with TemporaryDirectory(prefix="comicseq-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # nothing is put there, as the gate lets no upload through
        try:
            blocks.launch(server_name=host, server_port=port, **launch_settings())
        except OSError:
            raise ComicSeqArgumentError(
                f"The app cannot listen at {host}, port {port}: it is taken or not this machine's; choose another --port or"
                " --host."
            ) from None
        print(f"The app is at http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port} until Ctrl-C.", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:  # how it is ended
            print("The app has ended.", flush=True)
        finally:
            blocks.close(verbose=False)


def make_app(
    index: str | Path, model: str | None = None, pages: str | Path | None = None, title: str = "ComicSeq"
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

    collection = Collection(open_index(index), None if pages is None else PageParts(pages))
    return build_blocks(collection, None if model is None else open_judge(model, collection), title)


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
