"""The files that are shipped with the package: configurations by their names, and the template of the model card.

They stand at the top of the repository, in one copy. In a wheel they lie in the package; in a checkout and in an
editable install, beside it.
"""

from pathlib import Path

from .errors import ComicSeqArgumentError

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE if (PACKAGE / "configuration").is_dir() else PACKAGE.parent


def shipped(kind: str) -> dict[str, Path]:
    """The shipped configurations of one kind, by name.

    Args:
        kind: `model`, `pretraining` or `accelerate`: a folder in `configuration`.
    """
    return {path.stem: path for path in sorted((ROOT / "configuration" / kind).iterdir()) if path.is_file()}


def find_resource(kind: str, name: str) -> Path:
    """The file that a path or the name of a shipped configuration means; what exists wins.

    Args:
        kind: `model`, `pretraining` or `accelerate`.
        name: A file, a checkpoint's folder or a model on the Hub, or a shipped configuration: `comicseq-base`, or
            `configuration/model/comicseq-base.json` from any folder.

    Returns:
        Its path; `name` itself if it names a place that does not exist here.

    Raises:
        ComicSeqArgumentError: A bare name is neither a file nor shipped.
    """
    path, known = Path(name), shipped(kind)
    if path.is_file() or (path / "config.json").is_file():
        return path
    found = known.get(path.stem)
    if found and path in (Path(path.stem), Path(found.name), Path("configuration", kind, found.name)):
        return found
    if path.exists() or len(path.parts) > 1:
        return path
    raise ComicSeqArgumentError(
        f"There is no configuration file {name}: name a file, or one that is shipped: {', '.join(known)}."
    )


def model_card_template() -> Path:
    """The template that the cards of checkpoints are filled from."""
    return ROOT / "model_card.md"
