"""The limit of `GET me`: bare Flask, PyJWT, exactly one SELECT by primary key, and JSON. No contract, no log line.

    SECRET_KEY=… DATABASE_URL=sqlite:////tmp/limit.db gunicorn benchmarks.limit_app:app

Nothing that asks a database who is calling can do less. It reads the table `auth_user`, which is there already.
"""

import os
import uuid
from typing import Any

import jwt
from flask import Flask, Response, jsonify, request
from sqlalchemy import bindparam, create_engine, select

from authapp.columns import Identifier
from authapp.models import User

SECRET = os.environ["SECRET_KEY"].encode()
# On MariaDB a read is one round trip so, as ours is; the default would be two.
engine = create_engine(os.environ["DATABASE_URL"], isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True)
statement = select(
    User.id, User.email, User.name, User.photo, User.role, User.is_active, User.is_verified, User.created_at,
    User.updated_at,
).where(User.id == bindparam("user_id", type_=Identifier()))  # fmt: skip
app = Flask(__name__)


@app.get("/me")
def me() -> tuple[Response, int]:
    """Say who is calling."""
    _, _, token = request.headers.get("Authorization", "").partition(" ")
    try:
        claims: dict[str, Any] = jwt.decode(token, SECRET, algorithms=["HS256"])
    except jwt.PyJWTError:
        return jsonify(error="no token"), 401
    with engine.connect() as connection:
        found = connection.execute(statement, {"user_id": uuid.UUID(claims["sub"])}).first()
    return (jsonify(user=found._asdict()), 200) if found else (jsonify(error="nobody"), 401)
