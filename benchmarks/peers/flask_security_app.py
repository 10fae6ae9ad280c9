"""Flask-Security-Too as its own pages set it up: JSON, tokens, confirmed addresses, refresh tokens.

What docs/compare.md says of it was tried on this.

    pip install "Flask-Security-Too[common,fsqla]" PyMySQL gunicorn
    export SECRET_KEY=… DATABASE_URL=sqlite:////tmp/flask-security.db
    python -m benchmarks.peers.flask_security_app PASSWORD alice@example.org
    gunicorn benchmarks.peers.flask_security_app:app
"""

import os
import sys
from datetime import UTC, datetime

from flask import Flask
from flask_mail import Mail
from flask_security import Security, SQLAlchemyUserDatastore, auth_required, current_user, hash_password
from flask_security.models import fsqla_v4 as fsqla
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect

app = Flask(__name__)
app.config.update(
    SECRET_KEY=os.environ["SECRET_KEY"],
    SECURITY_PASSWORD_SALT=os.environ["SECRET_KEY"][::-1],
    SQLALCHEMY_DATABASE_URI=os.environ["DATABASE_URL"],
    # There is no DNS where this is tried.
    SECURITY_EMAIL_VALIDATOR_ARGS={"check_deliverability": False},
    SECURITY_REGISTERABLE=True,
    SECURITY_CONFIRMABLE=True,
    SECURITY_RECOVERABLE=True,
    SECURITY_CHANGEABLE=True,
    SECURITY_REFRESH_TOKEN=True,
    SECURITY_REFRESH_TOKEN_COOKIE_NAME=None,
    # Requests show a token, and no cookie: there is nothing for CSRF to protect.
    WTF_CSRF_CHECK_DEFAULT=False,
    SECURITY_CSRF_PROTECT_MECHANISMS=["session", "basic"],
    SECURITY_CSRF_IGNORE_UNAUTH_ENDPOINTS=True,
)
db = SQLAlchemy(app)
fsqla.FsModels.set_db_info(db)


class Role(db.Model, fsqla.FsRoleMixin):
    """A role."""


class User(db.Model, fsqla.FsUserMixin):
    """A user."""


class FsRefreshTracker(db.Model, fsqla.FsRefreshTrackerMixin):
    """A family of refresh tokens."""


CSRFProtect(app)
Mail(app)
datastore = SQLAlchemyUserDatastore(db, User, Role, refresh_tracker_model=FsRefreshTracker)
Security(app, datastore)


@app.get("/me")
@auth_required("token")
def me() -> dict[str, str]:
    """Say who is calling."""
    return {"email": current_user.email}


with app.app_context():
    db.create_all()


def fill(password: str, emails: list[str]) -> None:
    """Make accounts whose addresses are confirmed."""
    hashed = hash_password(password)
    for one in emails:
        datastore.create_user(email=one, password=hashed, confirmed_at=datetime.now(UTC).replace(tzinfo=None))
    datastore.commit()


if __name__ == "__main__":
    with app.app_context():
        fill(sys.argv[1], sys.argv[2:])
