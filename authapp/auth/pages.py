"""The pages that people land on from a mail. Opening one changes nothing: its button does, with or without the script.

Addresses within a page are relative to it, so that a proxy may serve them below any path.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import flask
from flask import Response, current_app, render_template, request

from authapp import addresses, api, body, brand, credentials, database, links
from authapp.auth.blueprint import client
from authapp.errors import (
    BadRequestError,
    LinkInvalidError,
    MethodNotAllowedError,
    PayloadTooLargeError,
    ValidationError,
)

CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

# By purpose: the template, and the route of the API that the script posts to.
_PAGES = {
    links.VERIFY_EMAIL: ("authapp/verify_email.html", "verify-email"),
    links.RESET_PASSWORD: ("authapp/reset_password.html", "reset-password"),
    links.CHANGE_EMAIL: ("authapp/change_email.html", "change-email/confirm"),
}
_WORTH_ANOTHER_TRY = (HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.TOO_MANY_REQUESTS)
_KEPT_HEADERS = ("Retry-After", "Allow")
_BRAND_SECONDS = 300

blueprint = flask.Blueprint(f"{api.OWN_BLUEPRINT}pages", __name__, template_folder="templates", static_folder="static")


@blueprint.get("/verify-email")
def verify_email() -> Response:
    """Show the button that verifies the address."""
    return _form_page(links.VERIFY_EMAIL, token=_token_of_link())


@blueprint.post("/verify-email/page")
@api.retrying
def confirm_email() -> Response:
    """Verify the address that the page's form speaks of."""
    addresses.confirm(_form().get("token", ""), client=client())
    database.commit()
    return _landing(links.VERIFY_EMAIL, state="done")


@blueprint.get("/reset-password")
def reset_password() -> Response:
    """Show the form for a new password, or that the link is dead: nobody should think one up in vain."""
    token = _token_of_link()
    with links.tried_from(client().network):
        links.check(token, links.RESET_PASSWORD)
    return _form_page(links.RESET_PASSWORD, token=token)


@blueprint.post("/reset-password/page")
@api.retrying
def set_password() -> Response:
    """Set the password that was typed twice."""
    form = _form()
    token, password = form.get("token", ""), form.get("new_password", "")
    if not token:
        raise LinkInvalidError
    if form.get("new_password_confirm") != password:
        raise ValidationError(details={"new_password_confirm": ["The passwords differ."]})
    if "\x00" in password:
        raise ValidationError(details={"new_password": ["Not valid text."]})
    credentials.reset(token, password, client=client())
    database.commit()
    return _landing(links.RESET_PASSWORD, state="done")


@blueprint.get("/change-email")
def change_email() -> Response:
    """Show the button that makes the new address the account's."""
    return _form_page(links.CHANGE_EMAIL, token=_token_of_link())


@blueprint.post("/change-email/page")
@api.retrying
def confirm_change() -> Response:
    """Change the address as the page's form says."""
    addresses.confirm_change(_form().get("token", ""), client=client())
    database.commit()
    return _landing(links.CHANGE_EMAIL, state="done")


@blueprint.get("/verify-email/page")
@blueprint.get("/reset-password/page")
@blueprint.get("/change-email/page")
def come_back() -> Response:
    """Say that the address of a form that was sent is none to open."""
    raise MethodNotAllowedError("Please open the link in your mail once more.", headers={"Allow": "POST"})


@blueprint.get("/brand.css")
def brand_css() -> Response:
    """Give the operator's colours."""
    return _kept_for_a_while(Response(brand.stylesheet(), mimetype="text/css"))


@blueprint.get("/brand.svg")
def brand_svg() -> Response:
    """Give the picture that browsers show beside the title."""
    picture = render_template("authapp/brand.svg", **brand.names())
    return _kept_for_a_while(Response(picture, mimetype="image/svg+xml"))


def answer_error(error: Exception) -> Response:
    """Show what went wrong as a page: with the form again, where pressing its button again may help."""
    refusal, purpose = api.answer_error(error), _below_prefix().partition("/")[0]
    if purpose not in _PAGES:
        # One of the files that pages are made of, which no person opens.
        return refusal
    page = _refused(purpose, refusal.status_code, **refusal.get_json()["error"])
    page.status_code = refusal.status_code
    page.headers.update({name: value for name, value in refusal.headers.items() if name in _KEPT_HEADERS})
    return page


def _refused(
    purpose: str, status: int, *, code: str, message: str, details: Mapping[str, Any] | None = None
) -> Response:
    token = _token_of_form()
    if code.startswith("LINK_") or "token" in (details or {}):
        return _landing(purpose, state="refused")
    if token and (status in _WORTH_ANOTHER_TRY or status >= HTTPStatus.INTERNAL_SERVER_ERROR):
        return _form_page(purpose, token=token, message="" if details else message, errors=details or {})
    return _page("authapp/message.html", message=message)


def _form_page(purpose: str, *, token: str, message: str = "", errors: Mapping[str, Any] | None = None) -> Response:
    return _landing(purpose, state="form", token=token, message=message, errors=errors or {})


def _landing(purpose: str, *, state: str, **content: object) -> Response:
    least = current_app.config["AUTH_PASSWORD_MIN_LENGTH"]
    template, route = _PAGES[purpose]
    known = {"purpose": purpose, "route": route, "state": state, "hours": links.hours(purpose), "min_length": least}
    return _page(template, **{"token": "", "message": "", "errors": {}, **known, **content})


def _page(template: str, **content: object) -> Response:
    # From `…/verify-email/page` to what lies beside `…/verify-email`.
    base = "../" * _below_prefix().count("/")
    page = Response(render_template(template, base=base, **brand.names(), **content), mimetype="text/html")
    page.headers["Content-Security-Policy"] = CSP
    return page


def _kept_for_a_while(answer: Response) -> Response:
    answer.cache_control.public, answer.cache_control.max_age = True, _BRAND_SECONDS
    return answer


def _below_prefix() -> str:
    return request.path.removeprefix(current_app.config["AUTH_URL_PREFIX"] + "/")


def _form() -> dict[str, str]:
    return body.parse_form(body.read(request))


def _token_of_form() -> str:
    try:
        return _form().get("token", "") if request.method == "POST" else ""
    except (BadRequestError, PayloadTooLargeError):
        return ""


def _token_of_link() -> str:
    """Give the token of a link that was opened. Raises `LinkInvalidError` where there is none."""
    token = request.args.get("token", "")
    if not token:
        raise LinkInvalidError
    return token


api.handle_errors(blueprint, answer_error)
