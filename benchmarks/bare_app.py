"""Flask with the extensions that authapp has, imported and bound, and nothing else: what a start is held against.

SECRET_KEY=… DATABASE_URL=sqlite:////tmp/bare.db gunicorn benchmarks.bare_app:app
"""

import os

import flask_cors
import flask_smorest
import pymysql
from flask import Flask
from flask_jwt_extended import JWTManager
from flask_mail import Mail
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

__all__ = ["app", "flask_cors", "flask_smorest", "pymysql"]

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
app.config["JWT_SECRET_KEY"] = os.environ["SECRET_KEY"]
db = SQLAlchemy(app)
Migrate(app, db)
JWTManager(app)
Mail(app)


@app.get("/healthz")
def healthz() -> dict[str, str]:
    """Say that the process is there."""
    return {"status": "ok"}
