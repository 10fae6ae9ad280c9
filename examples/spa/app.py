"""A single-page application, and on the same origin the accounts that it needs."""

import os
from collections.abc import Mapping
from pathlib import Path

from flask import Flask, Response, render_template, send_from_directory

from authapp import init_app
from authapp.extensions import db

CLIENTS = Path(__file__).resolve().parents[1] / "clients"
# Every address of the page is the same file; its script looks at the address.
VIEWS = "login, register, mail, verify, forgot, reset, sessions, password"


def create_app(settings: Mapping[str, object] | None = None) -> Flask:
    """Make the application with authapp mounted in it, whose mails lead to the page's own views."""
    app = create_pages()
    address = os.environ.get("AUTH_PUBLIC_URL", "http://127.0.0.1:8000")
    app.config.from_mapping(
        {
            "AUTH_COOKIES": True,
            "AUTH_BRAND_NAME": "Lighthouse",
            "AUTH_VERIFY_URL": f"{address}/verify?token={{token}}",
            "AUTH_RESET_URL": f"{address}/reset?token={{token}}",
            **(settings or {}),
        }
    )
    init_app(app)
    with app.app_context():
        db.create_all()  # Until you have migrations.
    return app


def create_pages(service: str = "") -> Flask:
    """Make the page alone, for accounts at the service of this address."""
    app = Flask(__name__)
    policy = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' {service}; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )

    @app.get("/")
    @app.get(f"/<any({VIEWS}):view>")
    def index(view: str = "") -> str:
        return render_template("index.html", service=service)

    @app.get("/clients/<name>.js")
    def client(name: str) -> Response:
        return send_from_directory(CLIENTS, f"{name}.js")

    @app.after_request
    def harden(response: Response) -> Response:
        # authapp's answers have headers of their own. The address of a view may hold the token of a mail.
        for name, value in (
            ("Content-Security-Policy", policy),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            response.headers.setdefault(name, value)
        return response

    return app
