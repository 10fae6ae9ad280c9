"""Reading a body: what is not plainly the JSON object (or form) that it says it is gets refused here.

Flask's own `get_json` takes UTF-16, NaN, duplicate keys and nesting so deep that Python gives up on it.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qsl

import marshmallow as ma
from flask import Request
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import RequestEntityTooLarge

from authapp.errors import BadRequestError, PayloadTooLargeError, UnsupportedMediaTypeError, ValidationError

# What can be wrong with a body.
REFUSALS = (BadRequestError, PayloadTooLargeError, UnsupportedMediaTypeError, ValidationError)
MAX_DEPTH = 8
# A field's metadata: in a form, empty means not given.
MAY_BE_BLANK = "may_be_blank"
_MAX_FIELDS = 50
_LONGEST_SHOWN_NAME = 40
FORM = "application/x-www-form-urlencoded"
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class BodyParser(FlaskParser):
    """The webargs parser of every route: strict about the body, and its refusals are ours."""

    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {  # noqa: RUF012  # As webargs declares it.
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "json_or_form": ma.RAISE,
    }

    def load_json(self, req: Request, schema: ma.Schema) -> Any:
        """Read a JSON body. An empty one is the empty object where the schema requires nothing."""
        raw = read(req)
        if not raw and not any(field.required for field in schema.fields.values()):
            return {}
        if not raw:
            raise BadRequestError("The request needs a JSON object as its body.")
        if req.mimetype != "application/json" or not _is_utf8(req):
            raise UnsupportedMediaTypeError
        return parse_object(raw)

    def load_json_or_form(self, req: Request, schema: ma.Schema) -> Any:
        """Read a JSON body, or a form in which no field stands twice."""
        if not is_form(req):
            return self.load_json(req, schema)
        if not _is_utf8(req):
            raise UnsupportedMediaTypeError("The form must be sent in UTF-8.")
        raw = read(req)
        if raw.lstrip().startswith(b"{"):
            # What curl makes of JSON without its header. A form of it would be one field, named like the password.
            raise UnsupportedMediaTypeError("This is JSON: send it as application/json.")
        # A browser sends the fields that nobody filled in too.
        may_be_blank = {name for name, field in schema.fields.items() if field.metadata.get(MAY_BE_BLANK)}
        return {name: text for name, text in parse_form(raw).items() if text or name not in may_be_blank}

    def handle_error(
        self,
        error: ma.ValidationError,
        req: Request,
        schema: ma.Schema,
        *,
        error_status_code: int | None,
        error_headers: Mapping[str, str] | None,
    ) -> NoReturn:
        """Refuse with field names and their messages, without the name of the place they came from."""
        by_field = next(iter(error.messages_dict.values()))
        raise ValidationError(details={_shown(name): lines for name, lines in by_field.items()})


def parse_object(raw: bytes) -> dict[str, Any]:
    """Read a JSON object (RFC 8259) strictly. Raises `BadRequestError`."""
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise BadRequestError("The body is not valid JSON in UTF-8.") from None
    if not isinstance(found, dict):
        raise BadRequestError("The body must be a JSON object.")
    if _is_deeper(found, MAX_DEPTH):
        raise BadRequestError("The body is nested too deeply.")
    return found


def parse_form(raw: bytes) -> dict[str, str]:
    """Read a form (application/x-www-form-urlencoded). Raises `BadRequestError`, also for a field that stands twice."""
    try:
        # The standard library would take a broken escape for the text that it is made of.
        if _BROKEN_ESCAPE.search(raw):
            raise ValueError("a percent sign without its two digits")
        pairs = parse_qsl(raw.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
        return _unique(pairs)
    except ValueError:
        raise BadRequestError("The body is not a valid form.") from None


def is_form(req: Request) -> bool:
    """Say whether the body is a form, by its content type."""
    return req.mimetype == FORM


def read(req: Request) -> bytes:
    """Read the whole body. Raises `PayloadTooLargeError`, and `BadRequestError` for one that is broken off."""
    try:
        raw = req.get_data(cache=True)
        # A body of untold length (chunked) is cut off at the limit by Werkzeug, without a word.
        untold = req.content_length is None and len(raw) == req.max_content_length
        more = untold and req.environ["wsgi.input"].read(1)
        if len(raw) < (req.content_length or 0):
            # gunicorn gives what there is of it; of a form, that could be a whole one with half a password.
            raise EOFError
    except RequestEntityTooLarge:
        raise PayloadTooLargeError from None
    except Exception:
        # Whatever the server raises for it: chunks that are none, a client that is gone.
        raise BadRequestError("The body cannot be read.", headers={"Connection": "close"}) from None
    if more:
        raise PayloadTooLargeError
    return raw


def _shown(name: str) -> str:
    """Give a field's name to be told: one that we do not know is the client's, and may be anything.

    Half of a surrogate pair cannot be sent back as UTF-8; what is long was not meant to be a name.
    """
    return name[:_LONGEST_SHOWN_NAME].encode(errors="backslashreplace").decode()


def _is_utf8(req: Request) -> bool:
    return req.mimetype_params.get("charset", "utf-8").lower() in ("utf-8", "utf8")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _is_deeper(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return depth == 0 or any(_is_deeper(part, depth - 1) for part in value)
