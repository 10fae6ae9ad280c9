"""django-allauth headless as its own pages set it up: for apps, with access and refresh tokens and listed sessions.

What docs/compare.md says of it was tried on this.

    pip install "django-allauth[headless]" gunicorn
    SECRET_KEY=… DATABASE_URL=sqlite:////tmp/allauth.db gunicorn benchmarks.peers.allauth_app:app
"""

import os

import django
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.urls import include, path


def private_key() -> str:
    """Give the key that signs tokens, which several processes have to share."""
    if given := os.environ.get("JWT_PRIVATE_KEY"):
        return given
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["DATABASE_URL"].removeprefix("sqlite:///"),
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "allauth",
        "allauth.account",
        "allauth.headless",
        "allauth.usersessions",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "allauth.account.middleware.AccountMiddleware",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    AUTHENTICATION_BACKENDS=["allauth.account.auth_backends.AuthenticationBackend"],
    AUTH_PASSWORD_VALIDATORS=[
        {"NAME": f"django.contrib.auth.password_validation.{name}"}
        for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
    ],
    EMAIL_BACKEND=os.environ.get("EMAIL_BACKEND", "django.core.mail.backends.smtp.EmailBackend"),
    ACCOUNT_LOGIN_METHODS={"email"},
    ACCOUNT_SIGNUP_FIELDS=["email*", "password1*"],
    ACCOUNT_EMAIL_VERIFICATION="mandatory",
    HEADLESS_ONLY=True,
    HEADLESS_TOKEN_STRATEGY="allauth.headless.tokens.strategies.jwt.JWTTokenStrategy",  # noqa: S106  # A class.
    HEADLESS_JWT_PRIVATE_KEY=private_key(),
    HEADLESS_JWT_STATEFUL_VALIDATION_ENABLED=True,
    HEADLESS_FRONTEND_URLS={
        "account_confirm_email": "https://app.example.org/verify/{key}",
        "account_reset_password_from_key": "https://app.example.org/reset/{key}",
        "account_signup": "https://app.example.org/signup",
    },
    USERSESSIONS_TRACK_ACTIVITY=False,
)
django.setup()
urlpatterns = [path("accounts/", include("allauth.urls")), path("_allauth/", include("allauth.headless.urls"))]
app = get_wsgi_application()
call_command("migrate", verbosity=0)
