"""Exact answers to multiple-choice questions about the synthetic corpus.

Two optima are given. The *joint* one knows all candidates at once and the way in which the wrong ones are drawn: it is
the posterior probability of each candidate, and no answer is right more often. The *per-candidate* one judges each
candidate from the context and that candidate alone, as a scorer must whose candidates do not see each other: it is the
likelihood ratio of "this is the asked panel" against "this is a wrong candidate". docs/synthetic_corpus.md derives both.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.special import expit, log_softmax, logsumexp

from ..data.distractors import PROTOCOLS
from ..errors import ComicSeqArgumentError
from .gaussian import Place, assignment_log_likelihood
from .world import Channel, SyntheticWorld

Shown = Literal["page", "before", "nothing"]
_SAME = 2e-3  # two observations nearer than this are one vector: rounding is far below, the world's noise far above


def joint_log_posterior(
    batch: Mapping[str, Any], world: SyntheticWorld, protocol: str = "same_book", shown: Shown = "page"
) -> np.ndarray:
    """Log probability of every candidate, given the context, all candidates and how the wrong ones are drawn.

    Args:
        batch: The inputs of a task's class as NumPy arrays. With `caption_embeddings`, a caption of the asked panel is
            seen; with `candidate_text_embeddings`, its text is asked for and its `visual_embedding`, if any, is seen; a
            `modality` says what kind of vectors context and candidates are.
        world: The generative model that the batch's pages come from.
        protocol: How wrong candidates are drawn.
        shown: Which panels of its page the context holds beside the asked one: all others ("page"), those "before" it, or
            "nothing".

    Returns:
        (B, K) log probabilities, -inf at padded candidates; the probabilities of a question add up to 1.

    Raises:
        ComicSeqArgumentError: If the questions have no such protocol, or candidates outnumber the pages of a short book.
    """
    return _by_form(_joint, batch, world, protocol, shown)


def candidate_log_ratio(
    batch: Mapping[str, Any], world: SyntheticWorld, protocol: str = "same_book", shown: Shown = "page"
) -> np.ndarray:
    """Log likelihood ratio of "the asked panel" against "a wrong candidate", each candidate judged by itself.

    Arguments and errors are those of `joint_log_posterior`.

    Returns:
        (B, K) log ratios; -inf at padded candidates and at those that stand in the context, inf where a candidate is
        certainly right.
    """
    return _by_form(_alone, batch, world, protocol, shown)


def candidate_probability(log_ratio: np.ndarray, candidates: np.ndarray | int) -> np.ndarray:
    """Probability that a candidate is the asked panel, judged by itself: the optimum of a binary head.

    Args:
        log_ratio: (B, K) from `candidate_log_ratio`.
        candidates: Candidates of each question (B,) or of all, one of them right; a lone candidate is right half of
            the time.

    Returns:
        (B, K) probabilities.
    """
    wrong = np.maximum(np.asarray(candidates) - 1, 1)
    return expit(log_ratio - np.log(wrong)[..., None])


class _Form(NamedTuple):
    """Questions that differ in their vectors only."""

    world: SyntheticWorld
    protocol: str
    shown: Shown
    fixed: tuple[Place, ...]  # of the known vectors
    asked: Place
    given: np.ndarray  # (B, D) known vectors
    items: np.ndarray  # (B, k, d) candidates that do not stand in the context
    standing: int  # further candidates, which do
    requested: int  # candidates that the sampler was asked for


def _by_form(
    answer: Callable[[_Form], np.ndarray], batch: Mapping[str, Any], world: SyntheticWorld, protocol: str, shown: Shown
) -> np.ndarray:
    """Sorts questions by form, because each form has one covariance, and answers form by form."""
    if protocol not in PROTOCOLS or (protocol == "later_panels" and shown != "before"):
        raise ComicSeqArgumentError(
            f"There is no protocol {protocol!r} for questions that show {shown!r}: use 'same_book', 'cross_book' or"
            " 'in_page'."
        )
    asks_text = "candidate_text_embeddings" in batch
    context_channel: Channel = batch.get("modality", "panel")
    item_channel: Channel = "text" if asks_text else context_channel
    stored = batch["candidate_text_embeddings" if asks_text else "candidate_embeddings"]
    shape = stored.shape[:2]
    real = np.asarray(batch.get("candidate_mask", np.ones(shape)), dtype=bool)
    items = world.observe(np.where(real[..., None], stored, 0), item_channel)
    known, positions, asked = _places(batch, shape[0], shown)
    if shown == "nothing":
        context = np.zeros((shape[0], 0, 2 * world.latent_dim))
    else:
        context = world.observe(np.where(known[..., None], batch["panel_embeddings"], 0), context_channel)
    hint, hint_channel = _hint(batch, world, shape[0])

    standing = np.zeros(shape, bool)
    if protocol == "in_page":
        # A fused vector holds its own text, which is what a text candidate has to be compared with.
        own = context[..., world.latent_dim :] * math.sqrt(2) if asks_text else context
        is_alike = np.abs(items[:, :, None] - own[:, None]).max(3) < _SAME
        standing = real & (is_alike & known[:, None]).any(2)

    result = np.full(shape, -np.inf)
    keys = np.concatenate([known, np.where(known, positions, 0), asked[:, None], real, standing], axis=1).astype(int)
    forms, membership = np.unique(keys, axis=0, return_inverse=True)
    for number in range(len(forms)):
        rows = np.flatnonzero(membership.reshape(-1) == number)
        slots = np.flatnonzero(known[rows[0]])
        columns = np.flatnonzero(real[rows[0]] & ~standing[rows[0]])
        if not len(columns):
            continue
        if protocol == "same_book" and len(columns) > world.pages_per_book[0]:
            raise ComicSeqArgumentError(
                f"a question has {len(columns)} candidates, but books have as few as {world.pages_per_book[0]} pages: "
                "exact answers need a page of its own for each same_book candidate, use fewer candidates."
            )
        place = int(asked[rows[0]])
        fixed = tuple(Place(context_channel, 0, 0, int(p)) for p in positions[rows[0], slots])
        if hint_channel is not None:
            fixed += (Place(hint_channel, 0, 0, place),)
        given = np.concatenate([context[np.ix_(rows, slots)].reshape(len(rows), -1), hint[rows]], axis=1)
        free, place_asked = items[np.ix_(rows, columns)], Place(item_channel, 0, 0, place)
        count = int(standing[rows[0]].sum())
        form = _Form(world, protocol, shown, fixed, place_asked, given, free, count, shape[1])
        result[np.ix_(rows, columns)] = answer(form)
    return result


def _places(batch: Mapping[str, Any], questions: int, shown: Shown) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which context panels are seen (B, N), the position of each (B, N), and the asked position (B,)."""
    if shown == "nothing":
        return np.zeros((questions, 0), bool), np.zeros((questions, 0), int), np.zeros(questions, int)
    shape = batch["panel_embeddings"].shape[:2]
    known = np.asarray(batch.get("attention_mask", np.ones(shape)), dtype=bool)
    given = batch.get("position_ids")
    positions = np.broadcast_to(np.arange(shape[1]) if given is None else given, shape).astype(int)
    if shown == "before":
        return known, positions, np.where(known, positions, -1).max(1) + 1
    if "candidate_position" in batch:
        return known, positions, np.asarray(batch["candidate_position"], dtype=int)
    slot = np.asarray(batch["mask_position"], dtype=int)[:, None]
    return known & (np.arange(shape[1]) != slot), positions, np.take_along_axis(positions, slot, 1)[:, 0]


def _hint(batch: Mapping[str, Any], world: SyntheticWorld, questions: int) -> tuple[np.ndarray, Channel | None]:
    """What is seen of the asked panel itself: (B, D) and its kind."""
    hints: dict[str, Channel] = {"caption_embeddings": "caption", "visual_embedding": "visual"}
    for name, channel in hints.items():
        if batch.get(name) is not None:
            return world.observe(batch[name], channel), channel
    return np.zeros((questions, 0)), None


def _joint(form: _Form) -> np.ndarray:
    questions, k = form.items.shape[:2]
    if k == 1:
        return np.zeros((questions, 1))
    scores = []
    for log_weight, others, assignments in _fillings(form):
        slots = (form.asked, *others)
        ll = assignment_log_likelihood(form.world, form.fixed, slots, form.given, form.items, assignments)
        by_answer = [logsumexp(ll[:, assignments[:, 0] == answer], axis=1) for answer in range(k)]
        scores.append(log_weight + np.stack(by_answer, axis=1))
    return log_softmax(logsumexp(scores, axis=0), axis=1)


def _alone(form: _Form) -> np.ndarray:
    questions, k, d = form.items.shape
    if form.protocol == "in_page" and form.shown == "page":
        return np.full((questions, k), np.inf)  # every wrong candidate stands in the context, so this one is right
    given, items = np.repeat(form.given, k, axis=0), form.items.reshape(-1, 1, d)

    def log_likelihood(place: Place) -> np.ndarray:
        only = np.zeros((1, 1), int)
        return assignment_log_likelihood(form.world, form.fixed, (place,), given, items, only)[:, 0]

    wrong = [log_weight + log_likelihood(place) for log_weight, place in _wrong_places(form)]
    if not wrong:
        return np.full((questions, k), np.inf)
    return (log_likelihood(form.asked) - logsumexp(wrong, axis=0)).reshape(questions, k)


def _fillings(form: _Form) -> Iterator[tuple[float, tuple[Place, ...], np.ndarray]]:
    """All ways in which the wrong candidates can be drawn.

    Yields:
        (log probability, places of the wrong candidates, equally likely assignments of the candidates to the asked
        place and these).
    """
    k, asked = form.items.shape[1], form.asked
    if form.protocol in ("same_book", "cross_book"):
        # Pages of a book are exchangeable and so are books: all draws are alike, and so are all orders of the rest.
        elsewhere = (i if form.protocol == "cross_book" else 0 for i in range(1, k))
        others = tuple(asked._replace(book=book, page=i, position=0) for i, book in enumerate(elsewhere, start=1))
        yield 0.0, others, np.array([[answer, *(i for i in range(k) if i != answer)] for answer in range(k)])
        return
    assignments = np.array(list(itertools.permutations(range(k))))
    for places, weight in _page_mates(form, k):
        if weight > 0:
            yield math.log(weight), tuple(asked._replace(position=p) for p in places), assignments


def _page_mates(form: _Form, k: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """Sets of k-1 positions of the asked page that the wrong candidates can have, each with its probability."""
    lengths, longest = form.world.page_lengths, form.world.max_panels
    if form.shown == "nothing":
        # Only differences of positions count: sets around the asked panel, times the ways to place them on a page.
        for before in range(longest):
            for mates in itertools.combinations([p for p in range(-before, longest - before) if p != 0], k - 1):
                if min(0, *mates) == -before:
                    span = max(0, *mates) + before
                    weight = sum(
                        p * (n - span) / (n * math.perm(n - 1, k - 1))
                        for n, p in lengths
                        if n > span and min(form.requested, n) == k
                    )
                    yield mates, weight
        return
    gap = form.asked.position
    for mates in itertools.combinations(range(gap + 1, longest), k - 1):
        weight = 0.0
        for n, p in lengths:
            later = n - 1 - gap
            pool = later if form.protocol == "later_panels" else n - 1
            drawn = form.standing + k - 1
            if n > mates[-1] and min(form.requested - 1, pool) == drawn:
                split = math.comb(pool - later, form.standing) * math.comb(later, k - 1) / math.comb(pool, drawn)
                weight += p / (n - 1) * split / math.perm(later, k - 1)
        yield mates, weight


def _wrong_places(form: _Form) -> Iterator[tuple[float, Place]]:
    """Where a wrong candidate taken at random can come from, with log probabilities."""
    asked = form.asked
    if form.protocol == "same_book":
        yield 0.0, asked._replace(page=1, position=0)
        return
    if form.protocol == "cross_book":
        yield 0.0, asked._replace(book=1, page=1, position=0)
        return
    about_gap, gap = form.shown == "before", asked.position
    weights: dict[int, float] = {}
    total = 0.0
    for n, p in form.world.page_lengths:
        if n < 2 or n <= gap:
            continue
        pool = n - 1 - gap if form.protocol == "later_panels" else n - 1
        drawn = min(form.requested - 1, pool) * (p / (n - 1) if about_gap else p)
        total += drawn
        for position in range(gap + 1, n) if about_gap else range(1 - n, n):
            if position != gap:
                share = 1 / pool if about_gap else (n - abs(position)) / (n * pool)
                weights[position] = weights.get(position, 0.0) + drawn * share
    for position, weight in weights.items():
        yield math.log(weight / total), asked._replace(position=position)
