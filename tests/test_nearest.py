"""Which name a wrong one is told."""

import pytest

from ganvas.errors import nearest

CLASSES = ("disc", "ring", "square")


@pytest.mark.parametrize("word", ["dsic", "disk", "dis", "discs"])
def test_a_near_name_is_suggested(word):
    assert nearest(word, CLASSES) == "; did you mean 'disc'?"


@pytest.mark.parametrize("word", ["triangle", "", "x"])
def test_a_far_one_is_not(word):
    assert nearest(word, CLASSES) == "; known: disc, ring, square"


def test_of_many_names_the_first_are_told():
    many = [f"class {k:03}" for k in range(1000)]
    assert nearest("x", many) == f"; known: {', '.join(many[:8])} and 992 others"
    assert nearest("x", many[:9]) == f"; known: {', '.join(many[:9])}"
