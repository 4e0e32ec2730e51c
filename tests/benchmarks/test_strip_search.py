"""What is asked of strip vectors, and that it is found where it is there to be found."""

import numpy as np

from benchmarks.strip_search import MEAN, PANEL, PICTURE, TEXT, Pages, makers, measure
from tests.data.made_dataset import COLUMNS, identities, made_table


def test_nothing_of_a_query_is_left_in_its_page():
    books = [[3, 1], [2]]
    pages = Pages(made_table(books))
    assert pages.books.tolist() == ["book-000", "book-000", "book-001"]
    for column, rest in ((PANEL, None), (TEXT, PICTURE), (PICTURE, TEXT)):
        asked = []
        for query, page, own in pages.queries(column):
            (panel,) = identities(query)
            asked.append(panel)
            kept = {COLUMNS[int(vector[0]) - 1]: identities(vector[None])[0] for vector in own if rest}
            assert query[0, 0] == 1 + COLUMNS.index(column)
            if rest is None:
                assert panel not in identities(own) and len(own) == len(pages.panels[page]) - 1
            else:
                assert kept[rest] == panel and panel not in [
                    p for p, v in zip(identities(own), own, strict=True) if v[0] == 1
                ]
        assert asked == [(0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 0, 0), (1, 0, 1)]


def test_pages_of_one_direction_are_found():
    table = made_table([[4, 4], [4, 4]], columns=(PANEL,))
    rng = np.random.default_rng(0)
    directions = np.eye(4).repeat(4, axis=0) + 0.01 * rng.normal(size=(16, 4))  # one a page
    table.columns[PANEL] = [directions.astype(np.float32)]
    make = makers({}, None)[MEAN]
    found, owners = measure(make, Pages(table), None)
    assert found["other half"].tolist() == [1, 1, 1, 1]
    assert found["panel at 1"].mean() == 1 and np.median(found["panel: rank"]) == 1
    assert set(found) == set(owners) == {"same book", "other half", "panel at 1", "panel at 10", "panel: rank"}
    table.columns[PANEL] = [np.roll(directions, 4, axis=1).repeat(2, axis=0)[:16].astype(np.float32)]
    assert measure(make, Pages(table), None)[0]["same book"].tolist() == [1, 1, 1, 1]  # two pages, then, of each
