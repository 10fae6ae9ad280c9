"""The operator's colours: whatever they are, what stands beside or on them can be read."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authapp import brand

COLORS = st.integers(0, 0xFFFFFF).map("#{:06x}".format)
LIGHT, DARK = "#f4f5f7", "#1f242a"


def test_contrast_is_the_standards():
    assert brand.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert brand.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert brand.contrast("#1f4fd8", "#1f4fd8") == 1


@given(COLORS)
def test_text_on_any_colour_can_be_read(color: str):
    assert brand.contrast(brand.text_on(color), color) >= 4.5


@pytest.mark.parametrize("page", [LIGHT, DARK])
@given(color=COLORS)
def test_any_colour_becomes_one_that_can_be_read_on_the_page(page: str, color: str):
    assert brand.contrast(brand.readable(color, page=page), page) >= 4.5


def test_colour_that_can_be_read_stays_as_it_is():
    assert brand.readable("#1f4fd8", page=LIGHT) == "#1f4fd8"
    assert brand.text_on("#1f4fd8") == "#ffffff"
    assert brand.text_on("#ffd400") == "#000000"


def test_backgrounds_are_those_of_the_page(root):
    """The lighter of the dark ones and the darker of the light ones: on the others there is more contrast still."""
    style = (root / "authapp/auth/static/page.css").read_text()
    grounds, cards = (re.findall(rf"--{name}: (#\w+);", style) for name in ("ground", "card"))
    assert (grounds[0], cards[1]) == (LIGHT, DARK)
    assert brand.contrast(cards[0], "#000000") >= brand.contrast(LIGHT, "#000000")
    assert brand.contrast(grounds[1], "#ffffff") >= brand.contrast(DARK, "#ffffff")


def test_fixed_colours_of_the_page_can_be_read_on_it(root):
    style = (root / "authapp/auth/static/page.css").read_text()
    for name, least in (("ink", 7), ("quiet", 4.5), ("problem", 4.5), ("line", 3)):
        on_light, on_dark = re.findall(rf"--{name}: (#\w+);", style)
        assert brand.contrast(on_light, "#ffffff") >= least
        assert brand.contrast(on_dark, DARK) >= least
