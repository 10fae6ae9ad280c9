"""The operator's name and colour, for pages and mails: always with colours that can be read beside it.

Contrast is WCAG 2's: 4.5 for text, against the backgrounds of `auth/static/page.css`.
"""

from flask import current_app

_WHITE, _BLACK = "#ffffff", "#000000"
_LIGHT_PAGE, _DARK_PAGE = "#f4f5f7", "#1f242a"
_READABLE = 4.5
_STEPS = 20


def names() -> dict[str, str]:
    """Give what every template knows: the name, the colour, and the colour of text on it."""
    color = _color()
    return {"brand": current_app.config["AUTH_BRAND_NAME"], "color": color, "on_color": text_on(color)}


def stylesheet() -> str:
    """Give the colours as a style sheet, since a page without inline styles can have them in no other way."""
    color = _color()
    dark = readable(color, page=_DARK_PAGE)
    light = _rules(color, accent=readable(color, page=_LIGHT_PAGE))
    return f"{light}@media (prefers-color-scheme: dark) {{\n{_rules(dark, accent=dark)}}}\n"


def text_on(color: str) -> str:
    """Choose white or black for text on this colour (`#rrggbb`); one of the two can always be read."""
    return _WHITE if contrast(_WHITE, color) >= _READABLE else _BLACK


def readable(color: str, *, page: str) -> str:
    """Give the colour, moved as little as is needed towards white or black to be read as text on the page."""
    ink = text_on(page)
    mixtures = (_mix(color, ink, part=step / _STEPS) for step in range(_STEPS))
    return next((mixed for mixed in mixtures if contrast(mixed, page) >= _READABLE), ink)


def contrast(one: str, other: str) -> float:
    """Give the contrast of two colours, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _color() -> str:
    color: str = current_app.config["AUTH_BRAND_COLOR"]
    return color.lower()


def _rules(fill: str, *, accent: str) -> str:
    return f":root {{ --brand: {fill}; --on-brand: {text_on(fill)}; --accent: {accent}; }}\n"


def _luminance(color: str) -> float:
    """Give the relative luminance (WCAG 2.2), from the linear parts of sRGB."""
    red, green, blue = (_linear(part / 255) for part in _parts(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    linear: float = part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4  # noqa: PLR2004  # The numbers are the standard's.
    return linear


def _parts(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _mix(color: str, other: str, *, part: float) -> str:
    mixed = (round(one + (two - one) * part) for one, two in zip(_parts(color), _parts(other), strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)
