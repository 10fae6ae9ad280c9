"""What the document says of the routes outside the prefix, which are plain Flask views and none of the blueprint's."""

from typing import Any

from flask import Flask

from authapp import errors
from authapp.errors import AuthError

TAGS = [{"name": "service", "description": "Whether it is up, and the keys that its tokens are signed with."}]

_JSON = "application/json"
_REQUEST_ID = {"X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"}}

SCHEMAS: dict[str, Any] = {
    "JWK": {
        "type": "object",
        "description": "A public key (RFC 7517); which fields it has depends on `kty`.",
        "required": ["kty", "kid", "alg", "use"],
        "properties": {
            "kty": {"type": "string", "examples": ["RSA", "EC", "OKP"]},
            "kid": {"type": "string"},
            "alg": {"type": "string", "examples": ["RS256", "ES256", "EdDSA"]},
            "use": {"type": "string", "const": "sig"},
            **{name: {"type": "string"} for name in ("n", "e", "crv", "x", "y")},
        },
    },
    "JWKS": {
        "type": "object",
        "description": "Public keys, the current one first; none under HS256, whose key is a secret.",
        "required": ["keys"],
        "properties": {"keys": {"type": "array", "items": {"$ref": "#/components/schemas/JWK"}}},
    },
    "Status": {
        "type": "object",
        "description": "How the service is.",
        "required": ["status"],
        "properties": {"status": {"type": "string", "enum": ["ok", "ready"]}},
    },
    "StatusAnswer": {
        "type": "object",
        "description": "How the service is.",
        "required": ["success", "data"],
        "properties": {
            "success": {"type": "boolean", "const": True},
            "data": {"$ref": "#/components/schemas/Status"},
        },
    },
}


def paths(app: Flask) -> dict[str, Any]:
    """Describe those of these routes that the application has."""
    found = {
        "/healthz": _operation("healthz", "Say that the process is up; it asks nothing of anybody", "StatusAnswer"),
        "/readyz": _operation(
            "readyz",
            "Say that the database answers and has the schema of this version",
            "StatusAnswer",
            **{
                "503": _refused(
                    "`SERVICE_UNAVAILABLE`: it does not answer, or has another schema.", errors.ServiceUnavailableError
                )
            },
        ),
        "/.well-known/jwks.json": _operation("jwks", "Give the public keys; not in the envelope", "JWKS"),
    }
    ours = {rule.rule for rule in app.url_map.iter_rules()}
    return {path: operation for path, operation in found.items() if path in ours}


def _operation(name: str, summary: str, schema: str, **refused: Any) -> dict[str, Any]:
    content = {_JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    answers = {"200": {"description": "OK", "headers": _REQUEST_ID, "content": content}, **refused}
    answers["default"] = _refused("Any other failure.", errors.BadRequestError)
    return {"get": {"operationId": name, "summary": summary, "tags": ["service"], "responses": answers}}


def example(kind: type[AuthError]) -> dict[str, str]:
    """Give the reference to the example of a refusal."""
    return {"$ref": f"#/components/examples/{kind.code}"}


def _refused(about: str, kind: type[AuthError]) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Failure"}
    content = {_JSON: {"schema": schema, "examples": {kind.code: example(kind)}}}
    return {"description": about, "headers": _REQUEST_ID, "content": content}
