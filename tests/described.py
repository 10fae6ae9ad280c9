"""Answers held against the API's document: `tests.factories.Api` does so with every one that it gets."""

import re
from copy import deepcopy
from functools import cache
from typing import Any

from flask import Flask
from jsonschema import Draft202012Validator, FormatChecker
from werkzeug.test import TestResponse

from authapp.openapi import complete

# What the document of an application depends on.
_SETTINGS = (
    "AUTH_COOKIES",
    "AUTH_GENERIC_RESPONSES",
    "AUTH_PASSWORD_MAX_LENGTH",
    "AUTH_PASSWORD_MIN_LENGTH",
    "AUTH_PASSWORD_MIN_SCORE",
    "AUTH_PUBLIC_URL",
    "AUTH_REQUIRE_VERIFIED_EMAIL",
    "AUTH_URL_PREFIX",
    "MAIL_DELIVERY",
)


class _Document:
    """A document whose shapes allow nothing that they do not name: what is not told must not be there."""

    _made: dict[tuple[object, ...], "_Document"] = {}  # noqa: RUF012  # For the whole run.

    @classmethod
    def of(cls, app: Flask) -> "_Document":
        key = tuple(app.config[name] for name in _SETTINGS)
        if key not in cls._made:
            cls._made[key] = cls(complete.make(app))
        return cls._made[key]

    def __init__(self, document: dict[str, Any]) -> None:
        self.components = deepcopy(document["components"])
        for schema in self.components["schemas"].values():
            schema.setdefault("additionalProperties", False)
        self.operations = [
            (
                method,
                re.compile(re.sub(r"{\w+}", "[^/]+", re.escape(path).replace(r"\{", "{").replace(r"\}", "}"))),
                told,
            )
            for path, methods in document["paths"].items()
            for method, told in methods.items()
        ]
        self.validator = cache(self._validator)

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        found = (told for verb, pattern, told in self.operations if verb == method and pattern.fullmatch(path))
        return next(found, None)

    def _validator(self, operation_id: str, status: str) -> Draft202012Validator:
        (told,) = (
            told for _, _, told in self.operations if isinstance(told, dict) and told["operationId"] == operation_id
        )
        schema = told["responses"][status]["content"]["application/json"]["schema"]
        return Draft202012Validator({**schema, "components": self.components}, format_checker=FormatChecker())


def check(app: Flask, method: str, path: str, answer: TestResponse) -> None:
    """Fail if the document does not tell of this answer: its status, its shape, or the code of its refusal.

    A path or a method that the document does not have is another test's business.
    """
    document = _Document.of(app)
    operation = document.operation(method.lower(), path.partition("?")[0])
    if operation is None or not answer.is_json:
        return
    if answer.status_code == 400 and "requestBody" not in operation:
        # Whatever is asked for, a Host header can be one that is none; `default` tells of that.
        return
    name, status = operation["operationId"], str(answer.status_code)
    assert status in operation["responses"], f"{name} answered {status}: {answer.text}"
    problems = [problem.message for problem in document.validator(name, status).iter_errors(answer.json)]
    assert problems == [], f"{name} answered {status}: {answer.text}"
    error = dict(answer.json or {}).get("error")
    if isinstance(error, dict):
        told = operation["responses"][status]["content"]["application/json"]["examples"]
        assert error["code"] in told, f"{name} answered {error['code']}"
    for header in operation["responses"][status]["headers"]:
        is_sure = document.components["headers"][header].get("required")
        assert not is_sure or header in answer.headers, f"{name} answered {status} without {header}"
