"""Puts a panel encoder and a sequence model together in one checkpoint, which takes pages instead of vectors."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from huggingface_hub import ModelCard, ModelCardData

from ..encoders.panel_encoder import PanelEncoder, load_panel_encoder
from ..errors import ComicSeqArgumentError, ComicSeqDataError
from ..files import written_folder
from ..hub import find_file
from ..model.configuration_comicpage import TOKENS
from ..model.configuration_comicseq import ComicSeqConfig
from ..model.modeling_comicpage import ComicPageModel
from ..model.pipeline_comicseq import custom_pipelines
from ..model.tasks_comicseq import PANELS, STRIP_EMBEDDING, TASKS
from ..outputs import check_output
from ..progress import quiet_transformers
from ..stores.origin import meaning_of
from .export import DTYPES, ExportReport, open_source
from .opening import page_fields
from .provenance import TRAINING_PROVENANCE, compare_origins, read_training_provenance

CARD = Path(__file__).with_name("page_model_card.md")
# What of the sequence model's card is about the page model, too.
_KEPT = ("Training data", "Results", "Limits")
_HALVES = {"visual_encoder": "pictures", "text_encoder": "texts"}
# What a question about a page holds, by the kind and the modality of what the task takes.
_BESIDE = {
    ("slot", "panel"): "`mask_position`",
    ("candidates", "panel"): "`candidates`",
    ("candidates", "text"): "`candidate_texts`",
    ("vector", "caption"): "`caption`",
}


def join_checkpoints(
    sequence: str,
    encoder: str,
    output: Path,
    overwrite: bool = False,
    *,
    task: str | None = None,
    dtype: str | None = None,
    other_origin: bool = False,
) -> ExportReport:
    """Writes a checkpoint of `ComicPageModel`: the panel encoder, a sequence model, and what both need.

    Args:
        sequence: Any ComicSeq checkpoint: a folder or a model on the Hub.
        encoder: The panel encoder that made the vectors which it was trained on, as `load_panel_encoder` takes it.
        output: Folder to create.
        overwrite: Whether to replace an existing folder.
        task: "encoder", one of the tasks, or "all" heads; by default the class that the checkpoint has.
        dtype: "float32", "float16" or "bfloat16"; by default that of the sequence model.
        other_origin: Whether another encoder than the one of the training is meant.

    Raises:
        ComicSeqArgumentError: There is no such task or precision.
        ComicSeqDataError: There is no such checkpoint or encoder, the encoder makes vectors of another width or of another
            origin, or weights do not fit the precision.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ComicSeqArgumentError(f"The dtype is {dtype!r} but must be one of {', '.join(DTYPES)}.")
    check_output(output, [sequence, *filter(None, encoder.split("+"))], overwrite, folder=True)
    source = open_source(sequence, task)
    with quiet_transformers():
        opened = load_panel_encoder(encoder, device="cpu")
    notes = _check_encoder(sequence, opened, other_origin)
    if page_fields(sequence).get("text_reading") == TOKENS:
        notes.append(f"The text reader of {sequence}, made of its own encoder's layers, is left out.")
    wanted = DTYPES[dtype] if dtype else source.whole.dtype
    try:
        model = ComicPageModel.from_parts(opened.model, source.part(source.model_class, wanted))
    except ValueError as error:
        if isinstance(error, ComicSeqDataError):
            raise
        raise ComicSeqDataError(f"{encoder} does not fit {sequence}: {error}") from None
    model.to(wanted)  # type: ignore[arg-type]
    for key, weight in model.panel_encoder.state_dict().items():
        if weight.is_floating_point() and not weight.isfinite().all():
            raise ComicSeqDataError(
                f"`{key}` of {encoder} holds NaN or numbers outside {wanted}: take a sound encoder, or --dtype float32."
            )
    with written_folder(output, overwrite) as folder:
        with quiet_transformers():
            model.save_pretrained(folder)
            opened.processor.save_pretrained(folder)
        provenance = find_file(sequence, TRAINING_PROVENANCE)
        if provenance is not None:
            (folder / TRAINING_PROVENANCE).write_bytes(provenance.read_bytes())
        write_page_card(folder, str(output), source.name, source.model_class.__name__, source.config, opened, wanted)
        num_bytes = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    precision = str(wanted).removeprefix("torch.")
    return ExportReport("ComicPageModel", "AutoModel", precision, model.num_parameters(), num_bytes, tuple(notes))


def _check_encoder(sequence: str, encoder: PanelEncoder, other_origin: bool) -> list[str]:
    """Compares an encoder with the origin of the vectors that a model was trained on; returns what is to be told."""
    trained = read_training_provenance(sequence)
    # It makes all arrays, those that were added to the training's store, too; perhaps with a model less, and so another hash.
    origin = encoder.origin
    each = {key: value for key, value in origin.items() if key != "encoder_fingerprint"}
    arrays = trained.get("origin", {}).get("arrays")
    arrays = dict.fromkeys(arrays, each) if isinstance(arrays, dict) else {}
    difference = compare_origins(trained, {"origin": origin | {"arrays": arrays}})
    if difference is None:
        if not meaning_of(trained.get("origin", {})):
            return [
                f"{sequence} does not say which encoders made the vectors that it was trained on: {encoder.name} is taken."
            ]
        return []
    sentence = (
        f"{sequence} was trained on vectors of another origin than {encoder.name} makes ({difference}): equal width is not"
        " equal meaning, and answers about its pages say little."
    )
    if not other_origin:
        raise ComicSeqDataError(
            f"{sentence} Name the encoder that made the training's vectors, or give --other-origin to go on all the same."
        )
    return [sentence]


def write_page_card(
    folder: Path,
    repo: str,
    sequence: str,
    sequence_class: str,
    config: ComicSeqConfig,
    encoder: PanelEncoder,
    dtype: torch.dtype,
) -> None:
    """Writes the card of a page model: what it takes, and what its sequence model's card says of training, results and limits.

    Args:
        folder: Where to, as README.md.
        repo: Where the model will be loaded from.
        sequence: The checkpoint of the sequence model; may be `folder`.
        sequence_class: Its class.
        config: Its configuration.
        encoder: The panel encoder.
        dtype: Precision of the weights.
    """
    pipelines = custom_pipelines(sequence_class)
    path = find_file(sequence, "README.md")
    known = ModelCard(path.read_text(encoding="utf-8")) if path is not None else None
    data = ModelCardData(license="apache-2.0", library_name="transformers", pipeline_tag="feature-extraction")
    data["tags"] = ["comics", "comicseq", "comic-pages"]
    if known is not None:
        for key in ("license", "eval_results", "model_name"):
            if known.data.get(key) is not None:
                data[key] = known.data[key]
    sections = re.split(r"(?m)^## ", known.text)[1:] if known is not None else []
    kept = [f"## {each.rstrip()}" for each in sections if each.partition("\n")[0].strip() in _KEPT]
    served = {each.name: each for each in (STRIP_EMBEDDING, *TASKS.values()) if each.pipeline in pipelines}
    beside = {}
    for name, task in served.items():
        names = [_BESIDE[kind] for kind in ((each.kind, each.modality) for each in task.inputs) if kind in _BESIDE]
        beside[name] = ", ".join(names) + ("" if PANELS in task.inputs else " (no page)")
    origin = encoder.origin
    encoders = [f"{origin[half]} for {what}" for half, what in _HALVES.items() if origin.get(half)]
    card = ModelCard.from_template(
        data,
        template_str=CARD.read_text(encoding="utf-8"),
        model_name=Path(repo).name,
        repo=repo,
        sequence_class=sequence_class,
        encoder_names=" and ".join(encoders) or encoder.name,
        width=encoder.width,
        dtype=str(dtype).removeprefix("torch."),
        tasks=list(served.values()),
        beside=beside,
        limit=config.max_position_embeddings,
        reads_boxes=config.box_embedding,
        kept="\n\n".join(kept),
    )
    card.save(folder / "README.md")
