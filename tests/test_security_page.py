"""The page about security, held against what there is: it names tests, settings, routes and requirements."""

import re
from collections import Counter
from pathlib import Path

import pytest
from flask import Flask

from authapp import errors, settings, signals
from authapp.cli import group

# OWASP ASVS 5.0.0: how many requirements each section has of level 1, and of levels 1 and 2, numbered in that order.
SECTIONS = {
    "V6.1": (1, 3),
    "V6.2": (8, 12),
    "V6.3": (2, 4),
    "V6.4": (2, 4),
    "V6.5": (0, 5),
    "V6.6": (0, 3),
    "V6.8": (0, 4),
    "V7.1": (0, 3),
    "V7.2": (4, 4),
    "V7.3": (0, 2),
    "V7.4": (2, 5),
    "V7.5": (0, 2),
    "V7.6": (0, 2),
    "V9.1": (3, 3),
    "V9.2": (1, 4),
}
STATES = ("met", "operator", "not met", "does not apply")
ROW = re.compile(r"^\| (V[\d.]+) \| ([12]) \| ([^|]+) \| ([^|]+) \| ([^|]*) \| ([^|]*) ?\|$", re.MULTILINE)


@pytest.fixture(scope="module")
def page() -> str:
    """The page about security."""
    return (Path(__file__).parent.parent / "docs/security.md").read_text()


def test_every_requirement_of_both_levels_has_one_row(page: str):
    rows = ROW.findall(page)
    assert len(rows) == page.count("\n| V")
    assert [(id, level) for id, level, *_ in rows] == [
        (f"{section}.{number}", "1" if number <= easy else "2")
        for section, (easy, last) in SECTIONS.items()
        for number in range(1, last + 1)
    ]


def test_states_are_known_and_counted_and_what_is_met_is_shown(page: str):
    rows = ROW.findall(page)
    counted = Counter(state for _, _, _, state, _, _ in rows)
    assert set(counted) == set(STATES)
    said = f"Of {len(rows)} rows {counted['met']} are met, {counted['operator']} are the operator's, "
    said += f"{counted['not met']} are not met and {counted['does not apply']} do not apply."
    assert said in " ".join(page.split())
    for id, _, _, state, how, shown in rows:
        assert how.strip(), id
        if state == "met":
            assert "`tests/" in shown or shown.strip() == "this page", id


def test_every_test_and_file_that_is_named_exists(page: str, root: Path):
    named = re.findall(r"[` ]((?:tests|authapp|deploy)/[\w/.]+\.(?:py|conf))(?:::(\w+))?", page)
    assert named
    for path, test in named:
        assert (root / path).exists(), path
        assert not test or f"\ndef {test}(" in (root / path).read_text(), f"{path}::{test}"


def test_every_command_that_is_named_exists(page: str, root: Path):
    rules = re.findall(r"^([a-z -]+):", (root / "Makefile").read_text(), re.MULTILINE)
    targets = [name for rule in rules for name in rule.split()]
    assert set(re.findall(r"`make ([a-z-]+)", page)) <= set(targets)
    assert set(re.findall(r"`flask auth ([a-z-]+)", page)) <= set(group.commands)
    for module in re.findall(r"`python -m ([\w.]+)", page):
        assert (root / f"{module.replace('.', '/')}.py").exists(), module


def test_every_setting_that_is_named_exists_and_has_this_default(page: str):
    defaults = {setting.name: setting.default for setting in settings.SETTINGS}
    codes = {kind.code for kind in errors.every_kind()}
    for name, value in re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)(?:=\S+)?`(?: \((\d+))?", page):
        assert name in defaults or name in codes, name
        assert not value or int(value) in (defaults[name], defaults[name] // 1024), name


def test_every_signal_and_route_that_is_named_exists(page: str, app: Flask):
    for name in re.findall(r"`((?:login|token|session)_\w+)`", page):
        assert hasattr(signals, name), name
    rules = {rule.rule for rule in app.url_map.iter_rules()}
    prefix = app.config["AUTH_URL_PREFIX"]
    for path in re.findall(r"`(?:GET |POST |DELETE )?(/[a-z][\w/{}-]*)`", page):
        at = path.replace("{id}", "<uuid:sid>")
        assert at in rules or f"{prefix}{at}" in rules, path


def test_every_place_on_the_page_that_is_linked_exists(page: str, root: Path):
    for path, anchor in re.findall(r"\]\(([\w./]*)#([\w-]+)\)", page + (root / "SECURITY.md").read_text()):
        there = (root / "docs" / Path(path).name).read_text() if path else page
        headings = re.findall(r"^#+ (.*)$", there, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, anchor
