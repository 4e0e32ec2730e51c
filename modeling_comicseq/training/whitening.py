"""Fits what strip vectors start from: the centres and the whitening of the mean, on the pages that are trained on."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..data.panels import PanelTable
from ..model.checks_comicseq import MODALITIES
from ..model.strips_comicseq import ComicSeqStripMean

__all__ = ["fit_strip_mean"]

# Part of the mean variance in that of each direction. Chosen on validation books; from 0.1 to 0.3 they find as much.
SHRINKAGE = 0.2
_PAGES = 256  # at a time


@torch.no_grad()
def fit_strip_mean(strip_mean: ComicSeqStripMean, table: PanelTable) -> None:
    """Fits `strip_mean` to the panels of a table; the same table gives the same.

    Directions are scaled by how much panels of one page differ in them (within-class covariance normalisation, Hatch et al.,
    2006). Of a space that is wider than strip vectors, those are kept in which whitened means of pages differ most. Means of
    pages then have a root mean square of 1. A modality that the table lacks has the centre of panels.

    Args:
        strip_mean: That of the model's pooler; its buffers are set.
        table: The pages to fit it on.
    """
    centre = _centre(strip_mean, table, "panel")
    centres = [_centre(strip_mean, table, name) if f"{name}_embeddings" in table else centre for name in MODALITIES]
    centres = [torch.where(each.isnan(), centre, each).nan_to_num() for each in centres]
    within, between = _covariances(strip_mean, table, centres[0])
    variances, directions = torch.linalg.eigh(within)
    variances = torch.lerp(variances.clamp(min=0), variances.mean(), SHRINKAGE)
    strip_mean.centres.copy_(torch.stack(centres))
    if variances.min() <= 0 or not between.any():  # no two panels of a page differ, or no two pages
        return
    whitening = directions @ (variances.rsqrt()[:, None] * directions.T)
    size = strip_mean.whitening.shape[0]
    spread = whitening @ between @ whitening
    if size < len(spread):
        whitening = torch.linalg.eigh(spread).eigenvectors[:, -size:].T @ whitening
        spread = whitening @ between @ whitening.T
    whitening /= (spread.trace() / size).sqrt()
    strip_mean.whitening.zero_()[: len(whitening)] = whitening


def _panels(
    strip_mean: ComicSeqStripMean, table: PanelTable, modality: str
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The vectors of some pages at a time in the space of panels, and where they say something; each `(B, N, P)`."""
    for part in torch.arange(len(table.pool.page_sizes)).split(_PAGES):
        panels = table.pool.of_pages(part.numpy())
        vectors = torch.from_numpy(table.gather(f"{modality}_embeddings", panels)).float()
        vectors, given = strip_mean.place(vectors, torch.from_numpy(panels >= 0), modality)
        yield vectors.double(), given


def _centre(strip_mean: ComicSeqStripMean, table: PanelTable, modality: str) -> torch.Tensor:
    """Mean `(P,)` of the vectors of a modality, NaN where none says something."""
    total, count = torch.zeros(2, strip_mean.centres.shape[1], dtype=torch.float64)
    for vectors, given in _panels(strip_mean, table, modality):
        total += vectors.sum((0, 1))
        count += given.sum((0, 1))
    return total / count


def _covariances(
    strip_mean: ComicSeqStripMean, table: PanelTable, centre: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Covariance `(P, P)` of panels less the mean of their page, and of the means of pages."""
    within, between = torch.zeros(2, len(centre), len(centre), dtype=torch.float64)
    freedom, pages = torch.zeros_like(centre), 0
    for vectors, given in _panels(strip_mean, table, "panel"):
        count = given.sum(1)
        means = vectors.sum(1) / count.clamp(min=1)
        others = torch.where(given, vectors - means[:, None], 0.0).flatten(0, 1)
        within += others.T @ others
        freedom += (count - 1).clamp(min=0).sum(0)
        means = torch.where(count > 0, means - centre, 0.0)
        between += means.T @ means
        pages += len(means)
    # Each half of a panel over as many panels as have it.
    weights = freedom.clamp(min=1).rsqrt()
    return within * weights[:, None] * weights, between / pages
