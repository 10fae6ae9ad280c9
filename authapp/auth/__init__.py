"""The auth blueprint: HTTP only. Each file is one topic; a view reads a shape, calls a rule, commits, answers."""

from flask import Flask

from authapp.auth import change_email, login, me, oauth2, pages, passwords, register, sessions
from authapp.auth.blueprint import blueprint

__all__ = ["change_email", "init_app", "login", "me", "passwords", "register", "sessions"]


def init_app(app: Flask) -> None:
    """Mount the routes and the pages below `AUTH_URL_PREFIX`."""
    prefix = app.config["AUTH_URL_PREFIX"]
    for routes in (blueprint, oauth2.blueprint):
        app.extensions["authapp"].api.register_blueprint(routes, url_prefix=prefix)
    app.register_blueprint(pages.blueprint, url_prefix=prefix)
