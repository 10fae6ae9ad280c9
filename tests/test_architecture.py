"""The house rules that import-linter cannot check."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "authapp"
FILES = sorted(PACKAGE.rglob("*.py"))
RULES = {
    "hashes.py",
    "users.py",
    "addresses.py",
    "credentials.py",
    "passwords.py",
    "sessions.py",
    "tokens.py",
    "keys.py",
    "links.py",
    "signin.py",
}
# Views, commands, workers; `api` commits what a refusal keeps, `database` has the function itself.
VIEWS = {f"auth/{path.name}" for path in (PACKAGE / "auth").glob("*.py")} - {
    "auth/schemas.py",
    "auth/fields.py",
    "auth/blueprint.py",
}
ENTRY_POINTS = VIEWS | {
    "api.py",
    "cli/accounts.py",
    "cli/sessions.py",
    "database.py",
    "importing/batches.py",
    "mail/delivery.py",
    "mail/requests.py",
    "migrating.py",
    "purge.py",
    "testing.py",
}
MOST_LINES_OF_A_FILE = 250
# What is told to commit.
DRIVERS = ("mariadb.py", "sqlite.py")
MOST_LINES_OF_A_FUNCTION = 40


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_entry_points_commit(path: Path):
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    commits = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "commit"]
    assert not commits or name_of(path) in (*ENTRY_POINTS, *DRIVERS)


@pytest.mark.parametrize("path", [PACKAGE / name for name in sorted(RULES)], ids=name_of)
def test_rules_know_no_request(path: Path):
    imported = {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("flask", "werkzeug")
        for alias in node.names
    }
    assert imported <= {"Flask", "current_app", "check_password_hash", "generate_password_hash"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_is_longer_than_a_reader_wants(path: Path):
    text = path.read_text()
    assert text.count("\n") <= MOST_LINES_OF_A_FILE
    for function in functions(ast.parse(text)):
        assert (function.end_lineno or 0) - function.lineno < MOST_LINES_OF_A_FUNCTION, function.name


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_public_name_says_what_it_is_for(path: Path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    public = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    undocumented = [node.name for node in public if not node.name.startswith("_") and not ast.get_docstring(node)]
    assert undocumented == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_exception_from_a_check_has_its_code_and_its_reason(path: Path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if "type: ignore" in line:
            assert re.search(r"# type: ignore\[[a-z-]+\]  # [A-Z].*\.$", line), f"line {number}"
        if "noqa" in line:
            assert re.search(r"# noqa: [A-Z]+[0-9]+  # [A-Z].*\.$", line), f"line {number}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_setting_is_read_at_import(path: Path):
    tree = ast.parse(path.read_text())
    inside = {id(node) for function in functions(tree) for node in ast.walk(function)}
    inside |= {id(node) for found in ast.walk(tree) if isinstance(found, ast.Lambda) for node in ast.walk(found)}
    outside = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and id(node) not in inside]
    read = {ast.unparse(node) for node in outside}
    assert not [name for name in read if name.startswith(("current_app.", "os.environ", "app.config"))]
