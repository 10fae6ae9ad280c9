"""fastapi-users as its own pages set it up: bearer tokens that are rows of the database, which a logout deletes.

What docs/compare.md says of it was tried on this.

    pip install "fastapi-users[sqlalchemy]" aiosqlite asyncmy gunicorn "uvicorn[standard]" uvicorn-worker
    export SECRET_KEY=… DATABASE_URL=sqlite+aiosqlite:////tmp/fastapi-users.db
    python -m benchmarks.peers.fastapi_users_app PASSWORD alice@example.org
    gunicorn -k uvicorn_worker.UvicornWorker benchmarks.peers.fastapi_users_app:app
"""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin, schemas
from fastapi_users.authentication import AuthenticationBackend, BearerTransport
from fastapi_users.authentication.strategy.db import DatabaseStrategy
from fastapi_users.password import PasswordHelper
from fastapi_users_db_sqlalchemy import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from fastapi_users_db_sqlalchemy.access_token import SQLAlchemyAccessTokenDatabase, SQLAlchemyBaseAccessTokenTableUUID
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

TOKEN_SECONDS = 30 * 60

engine = create_async_engine(os.environ["DATABASE_URL"])
make_session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """The tables."""


class User(SQLAlchemyBaseUserTableUUID, Base):
    """A user."""


class AccessToken(SQLAlchemyBaseAccessTokenTableUUID, Base):
    """A token that is good."""


async def session() -> AsyncIterator[AsyncSession]:
    """Open a session for a request."""
    async with make_session() as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]


class UserManager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    """The rules, with the secrets of mailed links. Sending the mails is for the application to write."""

    reset_password_token_secret = os.environ["SECRET_KEY"]
    verification_token_secret = os.environ["SECRET_KEY"]


async def user_manager(db: Session) -> AsyncIterator[UserManager]:
    """Give a request its rules."""
    yield UserManager(SQLAlchemyUserDatabase(db, User))


def strategy(db: Session) -> DatabaseStrategy:
    """Keep tokens in the database."""
    return DatabaseStrategy(SQLAlchemyAccessTokenDatabase(db, AccessToken), lifetime_seconds=TOKEN_SECONDS)


async def make_tables() -> None:
    """Make the tables that are missing."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Have the tables before the first request."""
    await make_tables()
    yield


backend = AuthenticationBackend(name="database", transport=BearerTransport("login"), get_strategy=strategy)
users = FastAPIUsers[User, uuid.UUID](user_manager, [backend])
app = FastAPI(lifespan=lifespan)
app.include_router(users.get_auth_router(backend))
app.include_router(users.get_register_router(schemas.BaseUser[uuid.UUID], schemas.BaseUserCreate))
app.include_router(users.get_reset_password_router())
app.include_router(users.get_verify_router(schemas.BaseUser[uuid.UUID]))
app.include_router(users.get_users_router(schemas.BaseUser[uuid.UUID], schemas.BaseUserUpdate), prefix="/users")


async def fill(password: str, emails: list[str]) -> None:
    """Make accounts whose addresses are confirmed."""
    await make_tables()
    hashed = PasswordHelper().hash(password)
    async with make_session() as opened:
        opened.add_all([User(email=one, hashed_password=hashed, is_verified=True) for one in emails])
        await opened.commit()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(fill(sys.argv[1], sys.argv[2:]))
