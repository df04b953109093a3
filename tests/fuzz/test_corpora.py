"""Every input that is kept for a fuzz target, without the fuzzer: a law that was broken once is never again."""

import pytest

from tests.fuzz.corpora import CORPUS, kept, target, targets

MOST_FILES = 120
MOST_BYTES = 1_000_000


@pytest.mark.parametrize("name", targets())
def test_no_kept_input_breaks_a_law(name):
    inputs = kept(name)
    for file in inputs:
        target(name).check(file.read_bytes())

    assert len(inputs) >= 4


@pytest.mark.parametrize("name", targets())
def test_a_target_accepts_one_seed_and_refuses_one(name):
    """A check that never sees accepted bytes, or nothing else, checks nothing."""
    answers = {target(name).check(data) for data in target(name).seeds().values()}

    assert answers == {True, False}


def test_the_corpora_are_small_and_belong_to_targets():
    folders = sorted(folder.name for folder in CORPUS.iterdir())
    sizes = [file.stat().st_size for name in folders for file in kept(name)]

    assert folders == targets()
    assert max(len(kept(name)) for name in folders) <= MOST_FILES
    assert sum(sizes) < MOST_BYTES
