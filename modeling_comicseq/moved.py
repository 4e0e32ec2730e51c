"""Where modules went that once stood elsewhere: an old import fails with a sentence that names the new place."""

import importlib.abc
import sys

_PACKAGE = __name__.partition(".")[0]
_ROOMS = {
    "model": (
        "configuration_comicseq",
        "handler",
        "heads_comicseq",
        "modeling_comicseq",
        "ordering_comicseq",
        "packing_comicseq",
        "pipeline_comicseq",
    ),
    "stores": ("data.metadata", "data.page_index", "data.provenance", "data.splits", "data.stage3", "data.windows"),
    "synthetic": ("evaluation.gaussian", "evaluation.optimum", "evaluation.order_optimum"),
}
# Old name -> new name, both without the package's.
MOVED = {
    **{old: f"{room}.{old.rpartition('.')[2]}" for room, names in _ROOMS.items() for old in names},
    "checkpoints.load_checkpoint": "checkpoints.opening",
    "checkpoints.read_config": "checkpoints.opening",
    "contrastive_comicseq": "model.losses_comicseq",
    "data.errors": "errors",
    "data.synthetic": "synthetic.world",
    "evaluation.comics_pap": "comics_pap",
    "evaluation.comics_pap_answers": "comics_pap.answers",
    "evaluation.comics_pap_report": "comics_pap.report",
    "evaluation.comics_pap_run": "comics_pap.run",
    "evaluation.comics_pap_tuning": "comics_pap.tuning",
    "evaluation.comics_pap_vectors": "comics_pap.vectors",
    "export": "checkpoints.export",
    "folders": "files",
    "import_checkpoint": "checkpoints.importing",
    "stage5": "library",
    "training.card": "checkpoints.card",
}


class _MovedFinder(importlib.abc.MetaPathFinder):
    """Asked last, so only for modules that do not exist."""

    def find_spec(self, fullname, path=None, target=None):
        """Finds nothing, and says where to look."""
        new = MOVED.get(fullname.removeprefix(f"{_PACKAGE}."))
        if new is not None and fullname.startswith(f"{_PACKAGE}."):
            raise ModuleNotFoundError(f"{fullname} has moved: import it from {_PACKAGE}.{new}.")
        return None


def install() -> None:
    """Makes old imports name the new place."""
    if not any(isinstance(finder, _MovedFinder) for finder in sys.meta_path):
        sys.meta_path.append(_MovedFinder())
