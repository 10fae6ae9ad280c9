"""The pages that people land on from a mail: plain HTML, no script. Opening one changes nothing, its button does."""

import flask
from flask import Response, render_template, request, url_for

from authapp import addresses, api, body, database
from authapp.errors import LinkInvalidError

CSP = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

_KEPT_HEADERS = ("Retry-After", "Allow")

blueprint = flask.Blueprint(f"{api.OWN_BLUEPRINT}pages", __name__, template_folder="templates", static_folder="static")


@blueprint.get("/verify-email")
def verify_email() -> Response:
    """Show the button that verifies the address; mail scanners open this page too."""
    token = request.args.get("token", "")
    if not token:
        raise LinkInvalidError
    return _page("authapp/verify_email.html", token=token, action=url_for(".confirm_email"))


@blueprint.post("/verify-email/page")
@api.retrying
def confirm_email() -> Response:
    """Verify the address that the page's form speaks of."""
    addresses.confirm(body.parse_form(body.read(request)).get("token", ""))
    database.commit()
    return _page("authapp/message.html", title="Done", message="Your account has been activated.")


def answer_error(error: Exception) -> Response:
    """Show what went wrong as a page."""
    answer = api.answer_error(error)
    message = answer.get_json()["error"]["message"]
    page = _page("authapp/message.html", title="That did not work", message=message)
    page.status_code = answer.status_code
    page.headers.update({name: value for name, value in answer.headers.items() if name in _KEPT_HEADERS})
    return page


def _page(template: str, **content: object) -> Response:
    page = Response(render_template(template, **content), mimetype="text/html")
    page.headers["Content-Security-Policy"] = CSP
    return page


api.handle_errors(blueprint, answer_error)
