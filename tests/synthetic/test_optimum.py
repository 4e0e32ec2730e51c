"""The exact answers, checked against dense Gaussian algebra, against simulation, and against the cosine."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from modeling_comicseq.errors import ComicSeqArgumentError
from modeling_comicseq.synthetic.optimum import (
    candidate_log_ratio,
    candidate_probability,
    joint_log_posterior,
)
from modeling_comicseq.synthetic.order_optimum import order_posterior
from modeling_comicseq.synthetic.world import DEMO_WORLD, Shares, SyntheticCorpus, SyntheticWorld

from .synthetic_questions import SHOWN, ask, draw_books, shuffled_pages

TINY = SyntheticWorld(
    width=10,
    style_dim=1,
    scene_dim=1,
    angles=(80.0,),
    damping=0.85,
    surprise=0.1,
    visual=Shares(0.25, 0.2, 0.3, 0.25),
    text=Shares(0.15, 0.25, 0.35, 0.25),
    caption=Shares(0.2, 0.3, 0.2, 0.3),
    page_lengths=((2, 0.2), (3, 0.3), (4, 0.3), (5, 0.2)),
    pages_per_book=(4, 6),
)
MODALITIES = {"visual_closure": "visual", "text_closure": "text"}


@pytest.fixture(scope="module")
def tiny_books():
    return draw_books(SyntheticCorpus(TINY, seed=3, num_books=120))


@pytest.fixture(scope="module")
def demo_books():
    return draw_books(SyntheticCorpus(DEMO_WORLD, seed=7, num_books=100))


class Dense:
    """The world as one big linear map of independent standard normals, built panel by panel and without any formula."""

    def __init__(self, world: SyntheticWorld):
        self.world, self.sources = world, 0

    def source(self, count: int) -> list[int]:
        self.sources += count
        return list(range(self.sources - count, self.sources))

    def covariance(self, places: tuple[tuple[str, int, int, int], ...]) -> np.ndarray:
        world = self.world
        books = {place[1]: self.source(world.style_dim) for place in places}
        pages = {place[1:3]: self.source(world.scene_dim) for place in places}
        longest = max(place[3] for place in places) + 1
        panels = {
            (*page, t): self.source(2 * world.action_dim + 3 * world.latent_dim)
            for page in pages
            for t in range(longest)
        }
        blocks = []
        for channel, book, page, position in places:
            latent = np.zeros((world.latent_dim, self.sources))
            latent[: world.style_dim, books[book]] = np.eye(world.style_dim)
            latent[world.style_dim : -world.action_dim, pages[book, page]] = np.eye(world.scene_dim)
            state = np.zeros((world.action_dim, self.sources))
            for t in range(position + 1):
                shock = np.zeros_like(state)
                shock[:, panels[book, page, t][: world.action_dim]] = np.eye(world.action_dim)
                state = shock if t == 0 else world.action_step() @ state + np.sqrt(1 - world.damping**2) * shock
            own = panels[book, page, position]
            latent[-world.action_dim :] = np.sqrt(1 - world.surprise) * state
            latent[-world.action_dim :, own[world.action_dim : 2 * world.action_dim]] = np.sqrt(
                world.surprise
            ) * np.eye(world.action_dim)
            observed = {}
            for number, kind in enumerate(("visual", "text", "caption")):
                start = 2 * world.action_dim + number * world.latent_dim
                observed[kind] = world.loading(kind) @ latent
                observed[kind][:, own[start : start + world.latent_dim]] += np.diag(np.sqrt(world.noise(kind)))
            observed["panel"] = np.concatenate([observed["visual"], observed["text"]]) / np.sqrt(2)
            blocks.append(observed[channel])
        mixing = np.concatenate(blocks)
        return mixing @ mixing.T


@functools.cache
def density(places: tuple[tuple[str, int, int, int], ...]):
    covariance = Dense(TINY).covariance(places)
    return multivariate_normal(np.zeros(len(covariance)), covariance)


def log_density(places, observed) -> float:
    return density(tuple(places)).logpdf(np.concatenate(observed))


def dense_question(world, task, batch, row):
    """Places and observations of what a question shows, the asked place and the candidates."""
    kind = batch.get("modality", "panel") if "closure" in task else "panel"
    places, observed, asked = [], [], 0
    if task != "caption_relevance":
        shown = np.flatnonzero(batch["attention_mask"][row])
        asked = batch["mask_position"][row] if "mask_position" in batch else len(shown)
        if task == "character_coherence":
            positions = batch["position_ids"][row, shown]
            asked = next(p for p in itertools.count() if p not in positions)
        else:
            positions, shown = shown[shown != asked], shown[shown != asked]
        places = [(kind, 0, 0, int(p)) for p in positions]
        observed = [world.observe(batch["panel_embeddings"][row, s], kind) for s in shown]
    if task == "text_cloze":
        places.append(("visual", 0, 0, int(asked)))
        observed.append(world.observe(batch["visual_embedding"][row], "visual"))
    if task == "caption_relevance":
        places.append(("caption", 0, 0, 0))
        observed.append(world.observe(batch["caption_embeddings"][row], "caption"))
    item_kind = "text" if task == "text_cloze" else kind
    stored = batch["candidate_text_embeddings" if task == "text_cloze" else "candidate_embeddings"][row]
    items = [world.observe(c, item_kind) for c in stored[batch["candidate_mask"][row]]]
    return places, observed, (item_kind, 0, 0, int(asked)), items


def normalised(scores: np.ndarray) -> np.ndarray:
    return scores - np.logaddexp.reduce(scores)


@pytest.mark.parametrize("protocol", ["same_book", "cross_book"])
@pytest.mark.parametrize("task", SHOWN)
def test_answers_equal_dense_algebra(tiny_books, task, protocol):
    batch = ask(tiny_books, task, k=3, protocol=protocol, modality=MODALITIES.get(task, "panel"), limit=6)
    joint = joint_log_posterior(batch, TINY, protocol, shown=SHOWN[task])
    ratio = candidate_log_ratio(batch, TINY, protocol, shown=SHOWN[task])
    for row in range(6):
        places, observed, asked, items = dense_question(TINY, task, batch, row)
        elsewhere = [(asked[0], i if protocol == "cross_book" else 0, i, 0) for i in (1, 2)]
        scores, ratios = [], []
        for answer, item in enumerate(items):
            others = [c for i, c in enumerate(items) if i != answer]
            scores.append(log_density([*places, asked, *elsewhere], [*observed, item, *others]))
            right = log_density([*places, asked], [*observed, item])
            ratios.append(right - log_density([*places, elsewhere[0]], [*observed, item]))
        np.testing.assert_allclose(joint[row], normalised(np.array(scores)), atol=1e-7)
        np.testing.assert_allclose(ratio[row], ratios, atol=1e-7)


def later_draws(world, gap, requested):
    """(probability, positions of the wrong candidates) of every ordered draw of later panels."""
    for n, p in world.page_lengths:
        if n > gap + 1:
            draws = list(itertools.permutations(range(gap + 1, n), min(requested - 1, n - 1 - gap)))
            yield from ((p / (n - 1) / len(draws), draw) for draw in draws)


def test_later_panels_equal_dense_algebra(tiny_books):
    batch = ask(tiny_books, "visual_closure", k=3, protocol="later_panels", limit=20)
    joint = joint_log_posterior(batch, TINY, "later_panels", shown=SHOWN["visual_closure"])
    ratio = candidate_log_ratio(batch, TINY, "later_panels", shown=SHOWN["visual_closure"])
    assert set(batch["candidate_mask"].sum(1)) == {2, 3}
    for row in range(20):
        places, observed, asked, items = dense_question(TINY, "visual_closure", batch, row)
        draws = list(later_draws(TINY, asked[3], 3))
        scores = np.full(len(items), -np.inf)
        for answer, item in enumerate(items):
            others = [c for i, c in enumerate(items) if i != answer]
            for weight, draw in draws:
                if len(draw) == len(others):
                    wrong = [("panel", 0, 0, p) for p in draw]
                    ll = log_density([*places, asked, *wrong], [*observed, item, *others])
                    scores[answer] = np.logaddexp(scores[answer], np.log(weight) + ll)
        np.testing.assert_allclose(joint[row, : len(items)], normalised(scores), atol=1e-7)
        total = sum(weight * len(draw) for weight, draw in draws)
        for column, item in enumerate(items):
            right = log_density([*places, asked], [*observed, item])
            wrong_terms = [
                np.log(weight / total) + log_density([*places, ("panel", 0, 0, p)], [*observed, item])
                for weight, draw in draws
                for p in draw
            ]
            np.testing.assert_allclose(ratio[row, column], right - np.logaddexp.reduce(wrong_terms), atol=1e-7)


def test_caption_in_page_equals_dense_algebra(tiny_books):
    batch = ask(tiny_books, "caption_relevance", k=3, protocol="in_page", limit=6)
    joint = joint_log_posterior(batch, TINY, "in_page", shown=SHOWN["caption_relevance"])
    for row in range(6):
        _, observed, _, items = dense_question(TINY, "caption_relevance", batch, row)
        scores = np.full(len(items), -np.inf)
        for n, p in TINY.page_lengths:
            if min(3, n) != len(items):
                continue
            draws = list(itertools.permutations(range(n), len(items)))
            for draw, answer in itertools.product(draws, range(len(items))):
                others = [c for i, c in enumerate(items) if i != answer]
                places = [("caption", 0, 0, draw[0]), *(("panel", 0, 0, t) for t in draw)]
                ll = log_density(places, [*observed, items[answer], *others])
                scores[answer] = np.logaddexp(scores[answer], np.log(p / len(draws)) + ll)
        np.testing.assert_allclose(joint[row, : len(items)], normalised(scores), atol=1e-7)


def test_order_equals_dense_algebra(tiny_books):
    vectors, mask, _ = shuffled_pages(tiny_books, longest=4, limit=8)
    posterior = order_posterior(vectors, mask, TINY)
    for row in range(8):
        n = mask[row].sum()
        items = [TINY.observe(v, "panel") for v in vectors[row, :n]]
        orders = list(itertools.permutations(range(n)))
        places = [("panel", 0, 0, p) for p in range(n)]
        logs = np.array([log_density(places, [items[i] for i in order]) for order in orders])
        weights = np.exp(normalised(logs))
        for i, j in itertools.permutations(range(n), 2):
            before = sum(w for w, o in zip(weights, orders, strict=True) if o.index(i) < o.index(j))
            directly = sum(w for w, o in zip(weights, orders, strict=True) if o.index(i) + 1 == o.index(j))
            assert posterior.precedence[row, i, j] == pytest.approx(before, abs=1e-7)
            assert posterior.adjacency[row, i, j] == pytest.approx(directly, abs=1e-7)
        assert tuple(posterior.best_order[row, :n]) == orders[weights.argmax()]
        expected = [sum(posterior.precedence[row, a, b] for a, b in itertools.combinations(o, 2)) for o in orders]
        chosen = tuple(posterior.by_precedence[row, :n])
        assert expected[orders.index(chosen)] == pytest.approx(max(expected))
        assert (posterior.best_order[row, n:] == -1).all()


QUESTIONS = [(task, "same_book") for task in SHOWN] + [
    ("panel_picking", "cross_book"),
    ("visual_closure", "later_panels"),
    ("text_closure", "in_page"),
    ("caption_relevance", "in_page"),
]


@pytest.mark.parametrize(("task", "protocol"), QUESTIONS)
def test_stated_probabilities_are_hit_rates(tiny_books, task, protocol):
    batch = ask(tiny_books, task, k=4, protocol=protocol, modality=MODALITIES.get(task, "panel"))
    right = np.arange(4) == batch["labels"][:, None]
    real = batch["candidate_mask"]
    joint = np.exp(joint_log_posterior(batch, TINY, protocol, shown=SHOWN[task]))
    np.testing.assert_allclose(joint.sum(1), 1)
    alone = candidate_probability(candidate_log_ratio(batch, TINY, protocol, shown=SHOWN[task]), real.sum(1))
    same_size = real & (real.sum(1) == 4)[:, None]  # the odds before looking are those of four candidates
    for stated, counted in ((joint, real), (alone, same_size)):
        p, hit = stated[counted], right[counted]
        for low, high in itertools.pairwise((0, 0.1, 0.25, 0.5, 0.75, 1.01)):
            group = (p >= low) & (p < high)
            if group.sum() > 20:
                deviation = np.sqrt((p[group] * (1 - p[group])).sum()) / group.sum()
                assert abs(p[group].mean() - hit[group].mean()) < 4 * deviation + 1e-3, (low, group.sum())


def test_order_probabilities_are_hit_rates(tiny_books):
    vectors, mask, places = shuffled_pages(tiny_books, longest=5)
    posterior = order_posterior(vectors, mask, TINY)
    i, j = np.triu_indices(5, 1)
    both = mask[:, i] & mask[:, j]
    stated = posterior.precedence[:, i, j][both]
    hit = (places[:, i] < places[:, j])[both]
    for low, high in itertools.pairwise((0, 0.2, 0.4, 0.6, 0.8, 1.01)):
        group = (stated >= low) & (stated < high)
        assert abs(stated[group].mean() - hit[group].mean()) < 0.05


def cosine_accuracy(task: str, batch: dict) -> float:
    name = "candidate_text_embeddings" if task == "text_cloze" else "candidate_embeddings"
    candidates = np.where(batch["candidate_mask"][..., None], batch[name], 0)
    if task == "caption_relevance":
        query = batch["caption_embeddings"]
    else:
        shown = batch["attention_mask"].copy()
        if "mask_position" in batch:
            shown[np.arange(len(shown)), batch["mask_position"]] = False
        context = batch["text_embeddings" if task == "text_cloze" else "panel_embeddings"]
        query = np.where(shown[..., None], context, 0).sum(1)
    scores = np.einsum("bkp,bp->bk", candidates, query) / np.maximum(np.linalg.norm(candidates, axis=-1), 1e-9)
    return (np.where(batch["candidate_mask"], scores, -np.inf).argmax(1) == batch["labels"]).mean()


@pytest.mark.slow
@pytest.mark.parametrize("task", SHOWN)
def test_demo_world_leaves_room_above_the_cosine(demo_books, task):
    batch = ask(demo_books, task, modality=MODALITIES.get(task, "panel"), limit=1000)
    joint = (joint_log_posterior(batch, DEMO_WORLD, shown=SHOWN[task]).argmax(1) == batch["labels"]).mean()
    alone = (candidate_log_ratio(batch, DEMO_WORLD, shown=SHOWN[task]).argmax(1) == batch["labels"]).mean()
    cosine = cosine_accuracy(task, batch)
    assert 0.32 < cosine < 0.53
    assert 0.78 < joint < 0.94
    assert joint > alone - 0.015  # by chance only: the joint answer is the better one in expectation
    assert alone > cosine + 0.25


@pytest.mark.slow
def test_time_reversal_lowers_the_likelihood(demo_books):
    pages = [p for book in demo_books for p in book["panel"] if len(p) == 5][:200]
    forward = order_posterior(np.stack(pages), None, DEMO_WORLD)
    i, j = np.triu_indices(5, 1)
    assert forward.precedence[:, i, j].mean() > 0.75
    assert (forward.best_order == np.arange(5)).all(1).mean() > 5 * (forward.best_order == np.arange(4, -1, -1)).all(
        1
    ).mean()


def test_in_page_answers_by_elimination(tiny_books):
    for task in ("panel_picking", "character_coherence", "text_cloze"):
        batch = ask(tiny_books, task, k=4, protocol="in_page", limit=60)
        for scores in (
            joint_log_posterior(batch, TINY, "in_page", shown=SHOWN[task]),
            candidate_log_ratio(batch, TINY, "in_page", shown=SHOWN[task]),
        ):
            assert (scores.argmax(1) == batch["labels"]).all()
            assert np.isneginf(np.delete(scores[0], batch["labels"][0])).all()


def test_masked_values_are_not_read(tiny_books):
    batch = ask(tiny_books, "text_cloze", k=3, limit=10)
    garbage = {name: np.nan_to_num(v, nan=7e4) if v.dtype == np.float32 else v for name, v in batch.items()}
    assert not np.isfinite(batch["panel_embeddings"]).all()
    expected = joint_log_posterior(batch, TINY, shown=SHOWN["text_cloze"])
    np.testing.assert_array_equal(joint_log_posterior(garbage, TINY, shown=SHOWN["text_cloze"]), expected)


@pytest.mark.slow
def test_half_precision_does_not_matter(demo_books):
    batch = ask(demo_books, "panel_picking", limit=100)
    half = {name: v.astype(np.float16) if v.dtype == np.float32 else v for name, v in batch.items()}
    full = np.exp(joint_log_posterior(batch, DEMO_WORLD, shown=SHOWN["panel_picking"]))
    np.testing.assert_allclose(
        np.exp(joint_log_posterior(half, DEMO_WORLD, shown=SHOWN["panel_picking"])), full, atol=0.01
    )


def test_refuses_questions_without_an_exact_answer(tiny_books):
    batch = ask(tiny_books, "panel_picking", k=3, limit=2)
    with pytest.raises(ComicSeqArgumentError, match="no protocol 'later_panels'"):
        joint_log_posterior(batch, TINY, "later_panels", shown=SHOWN["panel_picking"])
    with pytest.raises(ComicSeqArgumentError, match="no protocol 'colour'"):
        joint_log_posterior(batch, TINY, "colour")
    wide = {name: np.repeat(v, 2, axis=1) if name.startswith("candidate") else v for name, v in batch.items()}
    with pytest.raises(ComicSeqArgumentError, match="use fewer candidates"):
        joint_log_posterior(wide, TINY, shown=SHOWN["panel_picking"])
    with pytest.raises(ComicSeqArgumentError, match="8 panels"):
        order_posterior(np.zeros((1, 8, 10)), None, TINY)
