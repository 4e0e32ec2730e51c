"""What a batch of pages costs, said before the first step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..data.contents import numbers_in
from ..data.page_panels import ContentTable
from ..errors import counted
from ..model.modeling_comicpage import ComicPageForPreTraining
from .arguments import PretrainingArguments
from .dataset import PretrainingDataset
from .features import to_device
from .sampling import SharedBatches


def describe_cost(model: ComicPageForPreTraining, dataset: PretrainingDataset, arguments: PretrainingArguments) -> str:
    """A sentence about the first batch: its distinct pictures and texts, what is trained on them, and the memory of that."""
    assert isinstance(dataset.table, ContentTable)
    contents, size = dataset.table.contents, arguments.per_device_train_batch_size
    seed = arguments.seed if arguments.data_seed is None else arguments.data_seed
    together = arguments.pages_together
    numbers = numbers_in(dataset.read(next(iter(SharedBatches(dataset, size, seed, together=together)))))
    images = numbers[numbers <= contents.num_images] - 1
    texts = numbers[len(images) :] - contents.num_images - 1
    found = {"picture": ("vision", len(images)), "text": ("text", len(texts))}
    found = {noun: (half, count) for noun, (half, count) in found.items() if count}
    tuned = ", ".join(f"{half} {arguments.tuning[half]}" for half, _ in found.values())
    shown = " and ".join(counted(count, noun) for noun, (_, count) in found.items())
    line = f"A batch of {size} pages has some {shown}; trained of the encoder: {tuned}"
    kept = 0.0
    if len(images) and contents.image_features is None:
        pixels = contents.pixels(images[:1])
        kept += len(images) * kept_bytes(model, lambda: model.encode_contents([pixels.to(model.device)]))
    if len(texts) and contents.text_features is None:
        batches = [*contents.text_batches(texts[np.argsort(contents.lengths[texts], kind="stable")])]
        middle = batches[len(batches) // 2]
        tokens = to_device(contents.padded(middle), model.device)
        each = kept_bytes(model, lambda: model.encode_contents(texts=[tokens])) / tokens["input_ids"].numel()
        kept += each * sum(len(batch) * int(contents.lengths[batch[-1]]) for batch in batches)
    if kept and not arguments.gradient_checkpointing:
        line += f", which keeps about {kept / 2**30:.1f} GiB of activations (less with --gradient-checkpointing true)"
    return f"{line}."


def kept_bytes(model: torch.nn.Module, compute: Callable[[], object]) -> int:
    """Bytes that a computation leaves for its backward pass, beside the model's weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    found: dict[int, int] = {}
    held = []  # so that no place in memory is given out twice

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        compute()
    return sum(found.values())
