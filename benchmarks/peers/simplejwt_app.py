"""Django with simplejwt as its own pages set it up: refresh tokens rotate, and used ones are blacklisted.

pip install Django djangorestframework-simplejwt PyMySQL gunicorn
export SECRET_KEY=… DATABASE_URL=sqlite:////tmp/simplejwt.db
python -m benchmarks.peers.simplejwt_app PASSWORD alice@example.org
gunicorn benchmarks.peers.simplejwt_app:app
"""

import os
import sys
from datetime import UTC, datetime
from urllib.parse import urlsplit

import django
import pymysql
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.urls import path

# mysqlclient, Django's first choice, is built with MariaDB's headers, which few machines have; and authapp and
# Flask-Security are asked by way of PyMySQL too.
pymysql.install_as_MySQLdb()


def database(url: str) -> dict[str, object]:
    """Give Django's words for a database; its connections are kept, as its pages on deployment advise."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": url.removeprefix("sqlite:///"), "CONN_MAX_AGE": 60}
    return {
        "ENGINE": "django.db.backends.mysql",
        "HOST": parts.hostname,
        "PORT": parts.port or 3306,
        "USER": parts.username,
        "PASSWORD": parts.password or "",
        "NAME": parts.path.removeprefix("/"),
        "CONN_MAX_AGE": 60,
    }


settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": database(os.environ["DATABASE_URL"])},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "rest_framework_simplejwt.token_blacklist",
    ],
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    },
    SIMPLE_JWT={"ROTATE_REFRESH_TOKENS": True, "BLACKLIST_AFTER_ROTATION": True},
)
django.setup()

# These read the settings when they are imported.
from django.contrib.auth.hashers import make_password  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from rest_framework.decorators import api_view  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView  # noqa: E402


@api_view(["GET"])
def me(request: Request) -> Response:
    """Say who is calling: simplejwt has read the user from the database, and refused one who is not active."""
    return Response({"email": request.user.email})


urlpatterns = [
    path("api/token/", TokenObtainPairView.as_view()),
    path("api/token/refresh/", TokenRefreshView.as_view()),
    path("me", me),
]
app = get_wsgi_application()


def fill(password: str, emails: list[str]) -> None:
    """Make the tables, and accounts whose addresses are confirmed."""
    call_command("migrate", verbosity=0)
    hashed, now = make_password(password), datetime.now(UTC)
    User.objects.bulk_create(User(username=one, email=one, password=hashed, date_joined=now) for one in emails)


if __name__ == "__main__":
    fill(sys.argv[1], sys.argv[2:])
