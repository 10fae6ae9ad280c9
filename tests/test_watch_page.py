"""docs/watch.md against the code: every event that can be logged, every metric, and the rules made of them."""

import ast
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # It ships no types, and its stubs would be for this one call.
from blinker import NamedSignal
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from authapp import lines, signals
from authapp.metrics import counting, series
from tests import documented
from tests.conftest import MakeApp
from tests.test_metrics import TOKEN

LEVELS = {"info": "INFO", "warning": "WARNING", "error": "ERROR"}
# What a listener gets, and no log shows.
ADDRESSES = {"email", "earlier"}
NOT_COUNTED = {"request"}


@dataclass(frozen=True)
class Event:
    """An event as it is logged: its name, its level, and the fields that it always has."""

    name: str
    level: str
    fields: frozenset[str]


def rows(root: Path, first: str) -> Iterator[list[str]]:
    """Give the cells of every row below a table's head that begins so."""
    tables = re.findall(
        rf"^\| {first} \|.*\n\|[- |]+\n((?:\|.*\n)+)", (root / "docs/watch.md").read_text(), re.MULTILINE
    )
    for row in "".join(tables).splitlines():
        yield [cell.strip() for cell in row.strip("|").split(" | ")]


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def logged(tree: ast.Module) -> Iterator[Event]:
    """Give what the code of a file logs by itself."""
    values: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            values.update((ast.unparse(target), node.value) for target in targets)
    # What is logged by a logger that is handed in is gunicorn's, and sentences.
    if "log" not in values:
        return
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        words = [ast.unparse(part) for part in (call.func, *call.args[:1])]
        level = next((word.removeprefix("log.") for word in words if word.startswith("log.")), None)
        if level in LEVELS:
            what = call.args[0] if words[0] == f"log.{level}" else call.args[1]
            options = {str(keyword.arg): keyword.value for keyword in call.keywords}
            fields = keys(options["extra"], values) if "extra" in options else set()
            fields |= {"trace"} if "exc_info" in options else set()
            for name in constants(what, values):
                yield Event(name, LEVELS[level], frozenset(fields))


def constants(what: ast.expr, values: dict[str, ast.expr]) -> list[str]:
    """Give the texts that this may be; anything but a constant, or a choice of them, is against the house rules."""
    if isinstance(what, ast.Name):
        what = values[what.id]
    if isinstance(what, ast.IfExp):
        return constants(what.body, values) + constants(what.orelse, values)
    assert isinstance(what, ast.Constant), ast.unparse(what)
    return [str(what.value)]


def keys(extra: ast.expr, values: dict[str, ast.expr]) -> set[str]:
    if isinstance(extra, ast.Name):
        extra = values[extra.id]
    assert isinstance(extra, ast.Dict), ast.unparse(extra)
    found: set[str] = set()
    for key, value in zip(extra.keys, extra.values, strict=True):
        found |= keys(value, values) if key is None else set(constants(key, values))
    return found


def facts(tree: ast.Module) -> Iterator[Event]:
    """Give what is logged because it is announced."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if ast.unparse(call.func) in ("signals.announce", "signals.announce_refusal"):
            name = ast.unparse(call.args[0]).removeprefix("signals.")
            fields = {str(keyword.arg) for keyword in call.keywords} - ADDRESSES
            yield Event(name, "WARNING" if name == "token_reused" else "INFO", frozenset(fields))


def test_every_event_is_in_the_tables_with_its_level_and_fields(root: Path):
    files = [file.read_text() for file in (root / "authapp").rglob("*.py")]
    trees = [ast.parse(text) for text in files if "getLogger(" in text or "signals.announce" in text]
    found = {event for tree in trees for event in (*logged(tree), *facts(tree))}
    request = lines.of_request({}, status="200 OK", sent=0, seconds=0)
    found.add(Event("request", "INFO", frozenset(request) - {"request_id"}))
    told = [Event(named(cells[0])[0], cells[1], frozenset(named(cells[3]))) for cells in rows(root, "event")]
    assert {event.name for event in found} == {event.name for event in told}
    assert found == set(told)
    assert len(told) == len(set(told))


def test_every_signal_is_an_event_and_every_event_is_counted(root: Path):
    told = {named(cells[0])[0] for cells in rows(root, "event")}
    announced = {name for name, value in vars(signals).items() if isinstance(value, NamedSignal)}
    assert announced <= told
    assert set(counting.KNOWN[series.EVENTS]) == told - NOT_COUNTED


@pytest.fixture
def exposed(make_app: MakeApp) -> dict[str, tuple[str, set[str]]]:
    """Give the type and the labels of every metric of a real scrape, as they are queried."""
    client = make_app(METRICS_TOKEN=TOKEN).test_client()
    for _ in range(2):
        text = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    logging.getLogger("authapp").removeHandler(counting.LISTENER)
    return {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for family in text_string_to_metric_families(text)
    }


@pytest.mark.any_database
def test_the_table_of_metrics_is_what_is_exposed(root: Path, exposed: dict[str, tuple[str, set[str]]]):
    table = {named(cells[0])[0]: (cells[1], set(named(cells[2]))) for cells in rows(root, "metric")}
    assert table == exposed


@pytest.mark.any_database
def test_the_rules_ask_for_what_is_exposed(root: Path, exposed: dict[str, tuple[str, set[str]]]):
    blocks = [
        yaml.safe_load(one.text) for one in documented.blocks(root, root / "docs/watch.md") if one.language == "yaml"
    ]
    (groups,) = [block["groups"] for block in blocks if "groups" in block]
    expressions: list[Any] = [rule["expr"] for group in groups for rule in group["rules"]]
    assert len(expressions) >= 8
    counted = {label: set(known) for counter, known in counting.KNOWN.items() for label in counter._labelnames}
    for expression in expressions:
        assert set(re.findall(r"authapp_\w+", expression)) <= set(exposed), expression
        assert expression.count("(") == expression.count(")"), expression
        for label, chosen in re.findall(r'(event|result)=~?"([^"]+)"', expression):
            assert set(chosen.split("|")) <= {*counting.KNOWN[series.EVENTS], *counted["result"]}, label


@pytest.mark.any_database
def test_the_set_up_for_a_host_writes_these_lines(root: Path, app: Flask):
    (program,) = [one.text for one in documented.blocks(root, root / "docs/watch.md") if one.language == "python"]
    given: dict[str, Any] = {}
    # pytest has set up logging already, so that nothing here changes it.
    exec(program, given)
    record = logging.makeLogRecord({"name": "authapp.signals", "levelname": "INFO", "msg": "user_verified"})
    with app.test_request_context(environ_base={"REMOTE_ADDR": "10.0.0.1", lines.REQUEST_ID: "r-1"}):
        assert given["handler"].filter(record)
    found = json.loads(given["handler"].format(record))
    assert (found["event"], found["request_id"], found["ip"]) == ("user_verified", "r-1", "10.0.0.1")


def test_every_reason_that_is_counted_from_zero_is_on_the_page(root: Path):
    text = {name for line in (root / "docs/watch.md").read_text().splitlines() for name in named(line)}
    for counter in (series.SESSIONS_ENDED, series.HASHES_REFUSED, series.TOKENS_REFUSED):
        assert set(counting.KNOWN[counter]) <= text, counter


def test_every_reason_that_the_code_gives_is_counted_from_zero(root: Path):
    given = {
        word.value.value
        for file in (root / "authapp").rglob("*.py")
        for word in ast.walk(ast.parse(file.read_text()))
        if isinstance(word, ast.keyword) and word.arg == "reason" and isinstance(word.value, ast.Constant)
    }
    assert given == {*counting.KNOWN[series.SESSIONS_ENDED], *counting.KNOWN[series.HASHES_REFUSED]}
