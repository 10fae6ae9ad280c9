"""What schemathesis makes of the API's document: requests that keep to it and requests that do not, and whether the
answers are those that it tells of.

Its state machine goes from one operation to the next by the document's links, of which ours has none: sequences are
those of `test_generated_requests`.
"""

import re
from collections import Counter
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import CheckFunction, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from tests.conftest import Figure
from tests.hostile.exchange import leaked
from tests.hostile.generated import FORM
from tests.hostile.world import World
from tests.leaks import Watch

pytestmark = pytest.mark.any_database

CHECKS: list[CheckFunction] = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.positive_data_acceptance,
    checks.missing_required_header,
    checks.unsupported_method,
]
# Rules that no JSON schema can say: a request that breaks one keeps to the document, and is refused all the same.
RULES = re.compile(
    r"Not a valid (e-mail address|name|URL)\.|Not valid text\.|The passwords differ\.|This is your address already\."
    r"|This password is too easy to guess\.|Use at (least|most) \d+ characters\."
)
# Nobody can make one up.
LINKS = ("LINK_INVALID", "LINK_EXPIRED")


def is_explained(failure: Failure, case: Any, status: int, body: Any) -> bool:
    """Say whether an answer is right, though schemathesis cannot know it from the document."""
    kind, error = type(failure).__name__, body.get("error") if isinstance(body, dict) else None
    if kind == "RejectedPositiveData" and isinstance(error, dict):
        told = [lines[0] for lines in error.get("details", {}).values()]
        return error["code"] in LINKS or (status == 422 and bool(told) and all(map(RULES.fullmatch, told)))
    if kind == "RejectedPositiveData":
        # A form login, whose refusals all have this status.
        return error in ("invalid_grant", "invalid_request") and status == 400
    # A browser sends the fields of a form that nobody filled in too: they count as not sent.
    is_blank = case.media_type == FORM and isinstance(case.body, dict) and "" in case.body.values()
    # Refused indeed, though not among the statuses that it expects: too long a field makes too long a body.
    return kind == "AcceptedNegativeData" and (is_blank or status == 413)


class Tally:
    """What was sent and what came of it."""

    def __init__(self, app: Flask) -> None:
        self.world = World(app)
        self.statuses: dict[str, Counter[int]] = {mode.value: Counter() for mode in GenerationMode}
        self.explained: Counter[str] = Counter()

    def try_operation(self, operation: Any, mode: GenerationMode, *, number: int, headers: dict[str, str]):
        """Send requests that keep to the document, or that do not, to one operation."""

        @settings(
            max_examples=number,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Any) -> None:
            answer = case.call(headers=headers)
            self.statuses[mode.value][answer.status_code] += 1
            try:
                case.validate_response(answer, checks=CHECKS)
            except FailureGroup as group:
                body = answer.json() if answer.content else None
                failures = [failure for failure in group.exceptions if isinstance(failure, Failure)]
                unexplained = [one for one in failures if not is_explained(one, case, answer.status_code, body)]
                self.explained.update(type(failure).__name__ for failure in failures)
                if unexplained or len(failures) < len(group.exceptions):
                    raise

        send()


@pytest.mark.parametrize("number", [3, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.parametrize("caller", [None, "alice"])
def test_answers_are_those_that_the_document_tells_of(
    app: Flask, caller: str | None, number: int, figure: Figure, leaks: Watch
):
    tally = Tally(app)
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        for mode in GenerationMode:
            # Whoever has just deleted the account, or logged out, would be refused everything else.
            headers = {"Authorization": f"Bearer {World(app).named[f'{caller}.access']}"} if caller else {}
            if mode.is_positive or operation.body or operation.path_parameters:
                tally.try_operation(operation, mode, number=number, headers=headers)
        assert leaked(leaks) == []
    who = "signed in" if caller else "without a token"
    for mode_name, statuses in tally.statuses.items():
        figure(f"{mode_name} requests {who}", statuses.total())
        figure(f"answers to {mode_name} requests {who}", dict(sorted(statuses.items())))
    figure("answers that only a rule explains", dict(tally.explained))
