"""ComicsPAP from end to end: reader, encoders, optional tuning, answers, report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ..checkpoints.opening import open_checkpoint
from ..checkpoints.provenance import check_origin, save_training_provenance, strange_vectors
from ..checkpoints.statistics import MOST_VECTORS, describe_vectors
from ..encoders.panel_encoder import OFFLINE_ENCODER, load_panel_encoder
from ..errors import ComicSeqDataError
from ..files import written_folder
from ..model.tasks_comicseq import CAPTION_RELEVANCE
from ..outputs import check_output, check_report, has_words
from ..progress import quiet_transformers
from ..stores.names import normal_form
from .answers import answer_skill, read_modalities, untrained_heads
from .files import SKILLS, Question, SkillFiles, by_skill, find_skills
from .report import FILES, SkillResult, notes, print_report, write_report
from .tuning import fine_tune
from .vectors import MODALITIES, SeenPictures, SkillInputs, check_captions, embed_skill


def run_comics_pap(
    model: str,
    data: str,
    output: Path,
    *,
    encoder: str = OFFLINE_ENCODER,
    split: str = "val",
    skills: Sequence[str] | None = None,
    train_split: str | None = None,
    epochs: int = 5,
    learning_rate: float = 3e-4,
    seed: int = 0,
    other_origin: bool = False,
) -> list[SkillResult]:
    """Asks a checkpoint the questions of a ComicsPAP split, prints the table and writes the report and predictions.

    Args:
        model: A checkpoint; with `train_split` also a model configuration (JSON file) to start from.
        data: See `find_skills`.
        output: Folder of the report; a tuned model is saved in its `model`.
        encoder: Name of the panel encoder, see `load_panel_encoder`; without a text model, captions and lettering stay
            unread.
        split: The split to answer.
        skills: The skills to ask, by default all that are there and that the model and the encoders can answer.
        train_split: Tune on this split of the same skills first.
        epochs: Passes over it.
        learning_rate: Peak learning rate of the tuning.
        seed: Seed of the tuning.
        other_origin: Whether vectors of other encoders than the model's training are meant.

    Raises:
        ComicSeqDataError: If the model, the data or the output cannot be used.
    """
    console = Console()
    names = [*FILES, *(f"results_{skill}.json" for skill in skills or SKILLS)]
    if train_split:
        is_own = has_words('"model_type": "comicseq"')
        check_output(
            output / "model", [model, data], None, folder=True, is_own=lambda path: is_own(path / "config.json")
        )
    check_report(output, names, ('"settings": {', '_encoder": '), [model, data])
    if train_split == split:
        raise ComicSeqDataError(f"The split {split!r} cannot be tuned on and answered: name two splits.")
    if model.endswith(".json") and train_split is None:
        raise ComicSeqDataError(
            f"{model} is a model without weights: name a checkpoint, or tune it on a training split."
        )
    checkpoint = open_checkpoint(model, may_be_new=train_split is not None)
    network, config = checkpoint.model, checkpoint.model.config
    found = find_skills(data, split, skills)
    width = config.visual_embedding_dim if config.has_streams else config.panel_embedding_dim
    panel_encoder = load_panel_encoder(encoder, width=width)
    # Tuning is what makes a model's vectors of others: those are meant, then.
    is_meant, origin = other_origin or train_split is not None, panel_encoder.origin
    if not model.endswith(".json"):
        checkpoint.notes.extend(check_origin(model, origin, data, other_origin=is_meant))
    without_captions = [files for files in found if SKILLS[files.skill] is not CAPTION_RELEVANCE]
    if skills is None and not panel_encoder.reads_texts and 0 < len(without_captions) < len(found):
        Console(stderr=True).print("Left out caption_relevance: its captions need a text encoder.", highlight=False)
        found = without_captions
    names = [files.skill for files in found]
    check_captions(names, panel_encoder.reads_texts)
    training_files = find_skills(data, train_split, names) if train_split else []
    if train_split and not any(files.num_known for files in training_files):
        raise ComicSeqDataError(f"{data} hides the solutions of the split {train_split!r}: tune on another split.")
    pictures = SeenPictures(panel_encoder)
    network.to(panel_encoder.device).eval()  # type: ignore[arg-type]
    modalities = MODALITIES if train_split else read_modalities(network)
    inputs = SkillInputs(config, panel_encoder, modalities)

    def embed(parts: Sequence[SkillFiles]) -> list[Question]:
        most = config.max_position_embeddings - 1  # the gap has a position, too
        return [question for part in parts for question in embed_skill(part, pictures, most_context=most)]

    settings: dict[str, Any] = {
        "model": model,
        "data": data,
        "split": split,
        "skills": names,
        "encoder": encoder,
        **origin,
        "modalities": list(modalities),
    }
    name = Path(model).stem if model.endswith(".json") else Path(model).name
    questions = embed(found)
    if train_split:
        training = embed(training_files)
        _check_apart(training, questions, data, f"{train_split} and {split}")
        tuning = {"epochs": epochs, "learning_rate": learning_rate, "seed": seed}
        losses = fine_tune(network, training, inputs, **tuning)  # type: ignore[arg-type]
        with written_folder(output / "model", overwrite=True) as folder:
            with quiet_transformers():
                network.save_pretrained(folder)
            described = describe_vectors(_panels(training, inputs))
            save_training_provenance(folder, {"origin": origin}, described and {"panel_embeddings": described})
        counts = Counter(question.skill for question in training)
        settings |= {"train_split": train_split, **tuning, "training_questions": counts, "losses": losses}
        name += ", tuned"
    answers = [answer_skill(network, name, part, inputs) for part in by_skill(questions).values()]
    untrained = set() if train_split else untrained_heads(network, checkpoint.untrained)
    lines = notes(answers, origin, untrained)
    if not train_split:
        lines += checkpoint.notes + strange_vectors(model, {"panel_embeddings": _panels(questions, inputs)}, data)
    results = write_report(output, answers, name, settings, lines)
    print_report(results, lines, console)
    console.print(f"Written to {output}", highlight=False)
    return results


def _panels(questions: Sequence[Question], inputs: SkillInputs) -> np.ndarray:
    """Vectors `(n, width)` of the context panels of questions from all over the data."""
    chosen = questions[:: len(questions) // MOST_VECTORS + 1]
    found = [inputs.panels(each.context, each.context_texts) for each in chosen if len(each.context)]
    return np.concatenate(found)[:MOST_VECTORS]


def _check_apart(training: Sequence[Question], asked: Sequence[Question], data: str, splits: str) -> None:
    """Raises a `ComicSeqDataError` if a sample, or a book where books are named, stands in both splits."""
    for what in ("sample_id", "book_id"):
        here, there = (
            {normal_form(name) for question in part if (name := getattr(question, what)) is not None}
            for part in (training, asked)
        )
        if here & there:
            raise ComicSeqDataError(
                f"{data}: the {what} {min(here & there)!r} stands in the splits {splits}: keep it in one."
            )
