"""A Space, or any server: the app on the index and the model in the folders beside this file."""

from pathlib import Path

from modeling_comicseq.library.app.server import launch

HERE = Path(__file__).parent

launch(
    HERE / "index",
    model=str(HERE / "model") if (HERE / "model").is_dir() else None,
    host="0.0.0.0",
    title="A library of comics",
)
