"""The converted synthetic corpus, as the tests of evaluation make it."""

from tests.evaluation.conftest import corpus, data

__all__ = ["corpus", "data"]
