"""How views, shapes and refusals are told in the API's document, which `authapp.openapi` completes and serves."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import flask_smorest
import marshmallow as ma
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask

from authapp import errors
from authapp.errors import AuthError

View = TypeVar("View", bound=Callable[..., Any])

# What is noted on a view; `functools.wraps` carries it from each decorator's function to the next one's.
_REFUSALS = "authapp_refusals"
_LOGIN = "authapp_login"
_TYPES = {bool: "boolean", str: "string"}


@runtime_checkable
class Described(Protocol):
    """A field that says more of itself than its class does."""

    def describe(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Give the keywords of JSON Schema for it, under these settings."""


class Body(ma.Schema):
    """The shape of a request's body; a field that it does not name is refused."""

    # Fields that its example can do without.
    not_shown: ClassVar[tuple[str, ...]] = ()


class Code(ma.fields.String):
    """The code of a refusal."""

    def describe(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """List every code that there is, without closing the list: a client must be able to take a later one."""
        about = "The examples are all that there are; later versions may add some."
        return {"description": about, "examples": sorted({kind.code for kind in errors.every_kind()})}


class ErrorSchema(ma.Schema):
    """What went wrong. Act on `code`; `message` is a sentence for people and may change."""

    code = Code(required=True)
    message = ma.fields.String(required=True)
    details = ma.fields.Dict(
        keys=ma.fields.String(),
        values=ma.fields.List(ma.fields.String()),
        metadata={"description": "Messages by field name, for `VALIDATION_ERROR`."},
    )


class FailureSchema(ma.Schema):
    """A failure, in its envelope."""

    success = ma.fields.Constant(False, required=True)
    error = ma.fields.Nested(ErrorSchema, required=True)


class Api(flask_smorest.Api):  # type: ignore[misc]  # It has no types.
    """flask-smorest's `Api`, without its error pages, which would answer for the whole application.

    It looks at the views when the document is asked for, not when they are registered: most processes never make it.
    """

    ERROR_SCHEMA = FailureSchema
    DEFAULT_ERROR_RESPONSE_NAME = None

    def __init__(self, app: Flask, **options: Any) -> None:
        self.blueprints: list[flask_smorest.Blueprint] = []
        super().__init__(app, **options)

    def _register_error_handlers(self) -> None:
        pass

    # What flask-smorest would tell of every API: our failures are worked out, and we have no pages and no ETags.
    _register_responses = _register_pagination_header = _register_etag_headers = _register_error_handlers

    def _init_spec(self, **options: Any) -> None:
        self._make_spec = functools.partial(super()._init_spec, **options)

    def register_blueprint(self, blueprint: flask_smorest.Blueprint, **options: Any) -> None:
        """Register a blueprint in the application, and remember it for the document."""
        self._app.register_blueprint(blueprint, **options)
        self.blueprints.append(blueprint)

    def describe(self) -> dict[str, Any]:
        """Give what flask-smorest can tell of the views and their shapes."""
        self._make_spec(marshmallow_plugin=MarshmallowPlugin(schema_name_resolver=_name))
        converter = self.ma_plugin.converter
        converter.attribute_functions.append(functools.partial(_describe_field, self._app.config))
        self.spec.components.schema(_name(FailureSchema), schema=FailureSchema)
        for blueprint in self.blueprints:
            blueprint.register_views_in_doc(self, self._app, self.spec, name=blueprint.name, parameters=None)
        found: dict[str, Any] = self.spec.to_dict()
        for kind, name in {key[0]: name for key, name in converter.refs.items()}.items():
            _finish_schema(found["components"]["schemas"][name], kind)
        return found


def make(app: Flask, *, version: str) -> Api:
    """Bind a smorest API to the application, apart from one that the host may have."""
    spec = {"title": "authapp", "version": version, "openapi_version": "3.1.0"}
    return Api(app, config_prefix="AUTHAPP_", spec_kwargs=spec)


def refuses(*refusals: type[AuthError], unless: str | None = None) -> Callable[[View], View]:
    """Note which refusals of its own a view has, unless this setting is on; those of guards and bodies are known."""

    def note(view: View) -> View:
        vars(view)[_REFUSALS] = (*vars(view).get(_REFUSALS, ()), *((kind, unless) for kind in refusals))
        return view

    return note


def refusals_of(view: Callable[..., Any], config: Mapping[str, Any]) -> list[type[AuthError]]:
    """Give the refusals that a view has under these settings, those of its guards and its body included."""
    noted: tuple[tuple[type[AuthError], str | None], ...] = vars(view).get(_REFUSALS, ())
    return [kind for kind, unless in noted if unless is None or not config[unless]]


def guarded(view: View, *refusals: type[AuthError], optional: bool = False) -> View:
    """Note that a view asks who is calling, and refuses so; `optional`: it also serves whoever does not say."""
    vars(view)[_LOGIN] = "optional" if optional else "required"
    return refuses(*refusals)(view)


def login_of(view: Callable[..., Any]) -> str | None:
    """Say whether a view asks for a login: 'required', 'optional' or not at all."""
    found: str | None = vars(view).get(_LOGIN)
    return found


@functools.cache
def answer_schema(data: type[ma.Schema]) -> type[ma.Schema]:
    """Make the schema of the envelope around an answer, once for each: the document names schemas by class."""
    fields = {"success": ma.fields.Constant(True, required=True), "data": ma.fields.Nested(data, required=True)}
    made: type[ma.Schema] = ma.Schema.from_dict(fields, name=f"{_name(data)}Answer")
    made.__doc__ = data.__doc__
    return made


def _name(schema: ma.Schema | type[ma.Schema]) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return kind.__name__.removesuffix("Schema") + ("Body" if issubclass(kind, Body) else "")


def _describe_field(config: Mapping[str, Any], field: Any, *, ret: dict[str, Any], **_: Any) -> Any:
    if isinstance(field, ma.fields.Constant):
        ret.clear()
        return {"type": _TYPES[type(field.constant)], "const": field.constant}
    # Only what we take and give is told, not that a field is worked out.
    ret.pop("readOnly", None)
    return field.describe(config) | ret if isinstance(field, Described) else {}


def _finish_schema(schema: dict[str, Any], kind: type[ma.Schema]) -> None:
    schema["description"] = paragraphs(kind.__doc__)
    if issubclass(kind, Body):
        shown = {name: told for name, told in schema["properties"].items() if name not in kind.not_shown}
        schema["examples"] = [{name: told["examples"][0] for name, told in shown.items() if "examples" in told}]
    else:
        # An answer may have more fields one day.
        schema.pop("additionalProperties", None)


def paragraphs(text: str | None) -> str:
    """Join the lines of each paragraph of a docstring."""
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))
