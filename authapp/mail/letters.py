"""The words of a mail: its two templates, and what each of them knows."""

import unicodedata

from flask import render_template

from authapp import brand

# Characters that end a line, and those that turn the direction of what follows: neither may come from a name.
_CONTROLS = ("Cc", "Zl", "Zp")
_TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def write(template: str, content: dict[str, object]) -> tuple[str, str]:
    """Give a mail as text and as HTML. Texts in it are one line each; `name` is there even if the caller has none."""
    known = {"name": None, **brand.names(), **content}
    lines = {key: _one_line(value) if isinstance(value, str) else value for key, value in known.items()}
    text = render_template(f"authapp/mail/{template}.txt", **lines)
    return text, render_template(f"authapp/mail/{template}.html", **lines)


def _one_line(text: str) -> str:
    return " ".join("".join(" " if _is_hidden(char) else char for char in text).split())


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in _CONTROLS or unicodedata.bidirectional(char) in _TURNS
