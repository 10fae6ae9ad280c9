"""Print docs/api.md, made from the API's document as the default settings give it: `make openapi` keeps it."""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from authapp import api, create_app
from authapp.openapi import complete
from tests import exchanges
from tests.exchanges import Exchange
from tests.write_openapi import SETTINGS

_METHODS = ("get", "post", "patch", "delete")
_ALWAYS = {
    "X-Content-Type-Options": "`nosniff`.",
    "Referrer-Policy": "`no-referrer`.",
    "Content-Security-Policy": f"`{api.CSP}`; pages have their own.",
    "Cache-Control": "`no-store`.",
}
_OFTEN = {
    "Allow": "With 405: the methods that the path takes.",
    "Set-Cookie": "With `AUTH_COOKIES`, where tokens are handed out or a session ends: see [protect.md](protect.md).",
    "Access-Control-*, Vary": "With `CLIENT_ORIGIN`, to exactly those origins: see [protect.md](protect.md).",
}
_INTRODUCTION = """# Every route

<!-- `make openapi` writes this page from docs/openapi.json; change the views instead. -->

This is what the default settings give. The same as a document for programs: [openapi.json](openapi.json), and
`/openapi.json` of a running service, which knows its own settings; to try from a browser: `/docs`.
[errors.md](errors.md) says what a client does about each code, [clients.md](clients.md) shows whole clients.

Bodies are JSON objects in UTF-8; fields that a route does not know are refused. A success is
`{"success": true, "data": {…}}`, a failure `{"success": false, "error": {"code": …, "message": …, "details": …}}`.
Times are RFC 3339 in UTC, ids are UUIDs. What stands here are real exchanges with a service, but for the tokens, ids
and times, which differ.
"""


class Page:
    """The page of one document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        told = [told for _, _, told in self._operations()]
        bodies = {operation["operationId"]: self._body(operation) for operation in told}
        self.exchanges = exchanges.of({name: shape["examples"][0] for name, shape in bodies.items() if shape})

    def text(self) -> str:
        """Give the page as the file has it."""
        parts = [_INTRODUCTION, *self._headers()]
        for tag in self.document["tags"]:
            parts += [f"## {tag['name'].capitalize()}\n", f"{tag['description']}\n"]
            for path, method, told in self._operations():
                parts += self._operation(path, method, told) if tag["name"] in told["tags"] else []
        return "\n".join([*parts, *self._codes()])

    def _operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for path, methods in self.document["paths"].items():
            yield from ((path, method, methods[method]) for method in _METHODS if method in methods)

    def _headers(self) -> list[str]:
        sent = {name: told["description"] for name, told in self.document["components"]["parameters"].items()}
        told = {name: told["description"] for name, told in self.document["components"]["headers"].items()}
        # The document says with each answer which of these it has.
        rows = [(name, _when(name) + text) for name, text in told.items()] + [*_ALWAYS.items(), *_OFTEN.items()]
        return [
            "## Headers\n",
            *_table(("header of a request", "what it is for"), [(f"`{name}`", text) for name, text in sent.items()]),
            *_table(("header of an answer", "what it says"), [(f"`{name}`", text) for name, text in rows]),
        ]

    def _operation(self, path: str, method: str, told: dict[str, Any]) -> list[str]:
        parts = [f"### `{method.upper()} {path}`\n", f"{told['summary']}.\n"]
        if told["summary"].startswith("Same as"):
            return parts
        parts += [f"{told['description']}\n"] if told.get("description") else []
        parts += self._fields(told)
        exchange = self.exchanges[told["operationId"]]
        parts += [
            "```http",
            *_request(method, exchange, told),
            "```\n",
            f"{exchange.status} {exchange.status.phrase}:\n",
        ]
        parts += _fenced(json.loads(exchange.answer))
        refused = {status: _codes(answer) for status, answer in told["responses"].items() if status.isdigit()}
        rows = [(status, ", ".join(map(_linked, codes))) for status, codes in refused.items() if codes]
        return parts + (_table(("else", "code"), rows) if rows else [])

    def _fields(self, told: dict[str, Any]) -> list[str]:
        shape = self._body(told)
        if not shape:
            return []
        rows = [
            (f"`{name}`", "yes" if name in shape.get("required", []) else "", _meaning(field))
            for name, field in shape["properties"].items()
        ]
        return _table(("field", "needed", "what it is"), rows)

    def _body(self, told: dict[str, Any]) -> dict[str, Any]:
        """Give the shape of the operation's body, {} where it takes none."""
        content = told.get("requestBody", {}).get("content", {})
        return self._resolved(content["application/json"]["schema"]) if content else {}

    def _codes(self) -> list[str]:
        parts = ["## Codes\n", "One failure of each. `message` is for people and may change.\n"]
        for code, example in sorted(self.document["components"]["examples"].items()):
            parts += [f"### `{code}`\n", *_fenced(example["value"])]
        return parts

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        name = schema.get("$ref", "").rpartition("/")[2]
        found: dict[str, Any] = self.document["components"]["schemas"][name] if name else schema
        return found


def _codes(answer: dict[str, Any]) -> list[str]:
    return sorted(answer["content"]["application/json"].get("examples", {}))


def _linked(code: str) -> str:
    return f"[`{code}`](#{code.lower()})"


def _request(method: str, exchange: Exchange, told: dict[str, Any]) -> list[str]:
    lines = [f"{method.upper()} {exchange.path} HTTP/1.1"]
    lines += ["Authorization: Bearer ACCESS_TOKEN"] if told.get("security") else []
    if exchange.sent is None:
        return lines
    # What is good once, or for a while, is told by its name.
    sent = {name: name.upper() if name.endswith("token") else value for name, value in exchange.sent.items()}
    return [*lines, "Content-Type: application/json", "", json.dumps(sent)]


def _when(header: str) -> str:
    return {"Retry-After": "With 429 and 503: ", "WWW-Authenticate": "With 401: "}.get(header, "")


def _meaning(field: dict[str, Any]) -> str:
    kinds = [field["type"]] if isinstance(field["type"], str) else field["type"]
    kind = " or ".join(field.get("format", name) if name == "string" else name for name in kinds)
    limits = [f"at least {field['minLength']}"] if field.get("minLength", 1) > 1 else []
    limits += [f"at most {field['maxLength']} characters"] if "maxLength" in field else []
    text = ", ".join([kind, *limits])
    return f"{text}: {field['description']}" if "description" in field else text


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"]


def _fenced(value: Any) -> list[str]:
    return ["```json", json.dumps(value, indent=2, ensure_ascii=False), "```\n"]


def text() -> str:
    """Give the page as the file has it."""
    return Page(complete.make(create_app(SETTINGS, environ={}))).text()


if __name__ == "__main__":
    sys.stdout.write(text())
