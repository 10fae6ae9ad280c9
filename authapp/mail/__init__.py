"""Mails: written in the transaction that they speak of, and delivered from there."""

import flask
from flask import Flask

from authapp import api, extensions
from authapp.mail import mailbox


def init_app(app: Flask) -> None:
    """Bind Flask-Mail unless the host has, make the templates known, and in development open the mailbox."""
    if "mail" not in app.extensions:
        extensions.mail.init_app(app)
    blueprint = flask.Blueprint(f"{api.OWN_BLUEPRINT}mail", __name__, template_folder="templates")
    if app.config["APP_ENV"] == "development":
        blueprint.add_url_rule("/dev/mailbox", "mailbox", mailbox.mailbox)
        blueprint.add_url_rule("/dev/mailbox/<uuid:id>", "mailbox_html", mailbox.html)
    api.handle_errors(blueprint)
    app.register_blueprint(blueprint)
