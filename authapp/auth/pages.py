"""The pages that people land on from a mail: plain HTML, no script. Opening one changes nothing, its button does."""

import flask
from flask import Response, render_template, request, url_for

from authapp import api, body, database, users
from authapp.errors import AuthError, LinkInvalidError

CSP = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

blueprint = flask.Blueprint("auth_pages", __name__, template_folder="templates", static_folder="static")


@blueprint.get("/verify-email")
def verify_email() -> Response:
    """Show the button that verifies the address; mail scanners open this page too."""
    token = request.args.get("token", "")
    if not token:
        raise LinkInvalidError
    return _page("auth/verify_email.html", token=token, action=url_for(".confirm_email"))


@blueprint.post("/verify-email/page")
def confirm_email() -> Response:
    """Verify the address that the page's form speaks of."""
    users.confirm_email(body.parse_form(body.read(request)).get("token", ""))
    database.commit()
    return _page("auth/message.html", title="Done", message="Your account has been activated.")


@blueprint.errorhandler(AuthError)
def answer_refusal(error: AuthError) -> Response:
    """Show a refusal as a page."""
    refusal = api.answer_error(error)
    page = _page("auth/message.html", title="That did not work", message=error.message)
    page.status_code = refusal.status_code
    return page


def _page(template: str, **content: object) -> Response:
    page = Response(render_template(template, **content), mimetype="text/html")
    page.headers["Content-Security-Policy"] = CSP
    return page


api.handle_errors(blueprint)
