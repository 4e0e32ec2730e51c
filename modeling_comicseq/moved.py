"""Where modules went that once stood elsewhere: an old import fails with a sentence that names the new place."""

import importlib.abc
import sys

_PACKAGE = __name__.partition(".")[0]
_ROOMS = {
    "model": "configuration_comicseq handler heads_comicseq modeling_comicseq ordering_comicseq packing_comicseq"
    " pipeline_comicseq",
    "stores": "data.metadata data.provenance data.splits data.stage3 data.windows",
    "synthetic": "evaluation.gaussian evaluation.optimum evaluation.order_optimum",
}
# Old name without the package's -> new place.
MOVED = {
    **{old: f"{_PACKAGE}.{room}.{old.rpartition('.')[2]}" for room, names in _ROOMS.items() for old in names.split()},
    **{
        f"evaluation.comics_{name}": f"benchmarks.comics.{name}" for name in ("baselines", "cloze", "coherence", "run")
    },
    **{
        f"evaluation.comics_pap_{name}": f"{_PACKAGE}.comics_pap.{name}"
        for name in ("answers", "report", "run", "tuning", "vectors")
    },
    "checkpoints.load_checkpoint": f"{_PACKAGE}.checkpoints.opening",
    "checkpoints.read_config": f"{_PACKAGE}.checkpoints.opening",
    "checks": f"{_PACKAGE}.errors",
    "contrastive_comicseq": f"{_PACKAGE}.model.losses_comicseq",
    "data.errors": f"{_PACKAGE}.errors",
    "data.page_index": f"{_PACKAGE}.stores.placement",
    "data.synthetic": f"{_PACKAGE}.synthetic.world",
    **{f"encoders.{name}": f"{_PACKAGE}.encoders.panel_encoder" for name in ("image", "text")},
    "encoders.pooling": f"{_PACKAGE}.model.pooling_comicpanel",
    "encoders.lexical": "benchmarks.comics.lexical",
    "evaluation.comics": "benchmarks.comics.questions",
    "evaluation.comics_pap": f"{_PACKAGE}.comics_pap",
    "evaluation.comics_text": "benchmarks.comics.texts",
    "evaluation.linear_ranker": "benchmarks.comics.ranker",
    "export": f"{_PACKAGE}.checkpoints.export",
    "folders": f"{_PACKAGE}.files",
    "import_checkpoint": f"{_PACKAGE}.checkpoints.importing",
    "pages.gutters": f"{_PACKAGE}.model.gutters_comicpage",
    "stage5": f"{_PACKAGE}.library or {_PACKAGE}.stores",
    "training.card": f"{_PACKAGE}.checkpoints.card",
    "training.hub": f"{_PACKAGE}.training.saving",
    "training.model": f"{_PACKAGE}.training.run",
}


class _MovedFinder(importlib.abc.MetaPathFinder):
    """Asked last, so only for modules that do not exist."""

    def find_spec(self, fullname, path=None, target=None):
        """Finds nothing, and says where to look."""
        new = MOVED.get(fullname.removeprefix(f"{_PACKAGE}."))
        if new is not None and fullname.startswith(f"{_PACKAGE}."):
            raise ModuleNotFoundError(f"{fullname} has moved: import it from {new}.")
        return None


sys.meta_path.append(_MovedFinder())
