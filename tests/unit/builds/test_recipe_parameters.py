"""Parameters of a recipe: pairs in the log, a map for who reads them."""

from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds.pip import origins
from pyrsia.builds.recipe import pairs, parameters
from pyrsia.ledger.bodies.builds import PARAMETERS


@given(
    st.dictionaries(st.from_regex("[a-z]{1,9}", fullmatch=True), st.text("abc =/.", max_size=9), max_size=5)
)
def test_what_is_written_as_pairs_is_what_the_ledger_takes_and_is_read_back(given_):
    PARAMETERS(pairs(given_))
    assert parameters({"parameters": pairs(given_)}) == given_
    assert parameters({}) == {}


def test_a_folder_of_the_source_is_read_out_of_a_recipe_as_the_log_holds_it():
    recipe = {"parameters": [["subdir", "python/lib"]]}
    assert origins.checked(parameters(recipe)) == {"subdir": "python/lib"}
