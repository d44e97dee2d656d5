"""The page on models of one's own holds: its examples print what they show."""

from __future__ import annotations

import doctest
import os

from tests.pages import PAGES

os.environ.setdefault("KERAS_BACKEND", "jax")


def test_examples_print_what_the_page_shows() -> None:
    (page,) = (page for page in PAGES if page.name == "docs/your-model.md")
    test = doctest.DocTestParser().get_doctest(page.session, {}, page.name, page.name, 0)
    assert len(test.examples) > 20
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0
