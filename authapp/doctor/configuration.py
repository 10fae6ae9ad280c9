"""Checks of the settings: what may be set so, and still is not sound where the service stands."""

import difflib
import ipaddress
from urllib.parse import SplitResult, urlsplit

from flask import current_app
from werkzeug.middleware.proxy_fix import ProxyFix

from authapp import settings
from authapp.doctor.finding import Finding, fail, ok, warning

# OWASP's Password Storage Cheat Sheet: for each N of scrypt the least p, with r = 8; and iterations of PBKDF2.
_LEAST_SCRYPT = ((2**17, 1), (2**16, 2), (2**15, 3), (2**14, 5), (2**13, 10))
_LEAST_SCRYPT_R = 8
_LEAST_PBKDF2 = {"sha1": 1_300_000, "sha256": 600_000, "sha512": 210_000}
# RFC 2606, 3.
_EXAMPLES = ("example.com", "example.org", "example.net")
_OF_FLASK_MAIL = ("MAIL_DEBUG", "MAIL_MAX_EMAILS", "MAIL_SUPPRESS_SEND", "MAIL_ASCII_ATTACHMENTS")
# NIST SP 800-63B.
_LEAST_PASSWORD_LENGTH = 8
# By zxcvbn, which gives at most 1 to every password of its list of those that are tried first.
_LEAST_PASSWORD_SCORE = 2

# What leaves, of the 64 threads that gunicorn.conf.py gives a process, a quarter to those who want none checked.
_MOST_WAITING = 48


def environment() -> Finding:
    """Check that development is not what others reach."""
    if _is_production():
        return ok("APP_ENV is production.")
    if not _is_local(_public_url()):
        return fail("APP_ENV is development, but AUTH_PUBLIC_URL is for others: set APP_ENV=production.")
    return ok("APP_ENV is development, on this machine only.")


def names() -> Finding:
    """Check that nobody misspelt a setting, whose default would stand without a word."""
    config = current_app.config
    known = [*(setting.name for setting in settings.SETTINGS), *_OF_FLASK_MAIL]
    # Flask-JWT-Extended writes all of its own there.
    known += [name for name in config if name.startswith("JWT_")]
    misspelt = [name for name in config["AUTH_UNKNOWN_SETTINGS"] if name not in known]
    if misspelt:
        nearest = [difflib.get_close_matches(name, known, n=1, cutoff=0)[0] for name in misspelt]
        pairs = ", ".join(f"{name} (nearest: {right})" for name, right in zip(misspelt, nearest, strict=True))
        return warning(f"Set, and no settings of authapp's: {pairs}.")
    return ok("Every AUTH_…, JWT_… and MAIL_… that is set is a setting.")


def secrets() -> Finding:
    """Check that no earlier secret is accepted for longer than it has to be."""
    config = current_app.config
    if config["SECRET_KEY"] in config["SECRET_KEY_FALLBACKS"]:
        return fail("SECRET_KEY is also one of SECRET_KEY_FALLBACKS: nothing was rotated; make a new SECRET_KEY.")
    if config["SECRET_KEY_FALLBACKS"]:
        return warning(
            "SECRET_KEY_FALLBACKS are still accepted: remove each one "
            f"{_days()} days (REFRESH_TOKEN_EXPIRE_DAYS) after it was replaced."
        )
    return ok("SECRET_KEY is the only secret.")


def keys() -> Finding:
    """Check the keys that sign tokens; whether they fit together is settled at the start."""
    config = current_app.config
    algorithm = config["JWT_ALGORITHM"]
    if algorithm == "HS256":
        return ok("Tokens are signed with SECRET_KEY (HS256).")
    if config["JWT_PREVIOUS_PUBLIC_KEYS"]:
        return warning(
            "JWT_PREVIOUS_PUBLIC_KEYS are still accepted: remove each one "
            f"{_days()} days (REFRESH_TOKEN_EXPIRE_DAYS) after it was replaced."
        )
    return ok(f"Tokens are signed with a private key ({algorithm}).")


def public_url() -> Finding:
    """Check the address that mailed links begin with."""
    url, config = _public_url(), current_app.config
    if url.path.rstrip("/").endswith(config["AUTH_URL_PREFIX"]):
        return fail("AUTH_PUBLIC_URL ends with AUTH_URL_PREFIX, which links have twice so: leave it out.")
    if not _is_production():
        return ok(f"Links in mails begin with {url.geturl()}.")
    if _is_local(url) or _is_example(url):
        what = "this machine's own address" if _is_local(url) else "an example's address"
        return fail(f"AUTH_PUBLIC_URL is {what}, where links in mails lead nobody to you: give the public one.")
    if url.scheme != "https":
        return fail("AUTH_PUBLIC_URL is http, and passwords are read on the way: serve https and say so there.")
    pages = [name for name in ("AUTH_VERIFY_URL", "AUTH_RESET_URL", "AUTH_CHANGE_EMAIL_URL") if _is_plain(config[name])]
    if pages:
        return warning(f"{' and '.join(pages)} begin with http, and links are read on the way: serve https.")
    return ok(f"Links in mails begin with {url.geturl()}.")


def cookies() -> Finding:
    """Check that browsers keep the cookies, and send them from the front ends."""
    config, url = current_app.config, _public_url()
    if not config["AUTH_COOKIES"]:
        return ok("AUTH_COOKIES is off.")
    if _is_production() and url.scheme != "https":
        return fail("AUTH_COOKIES are Secure, which browsers drop on http: serve https and say so in AUTH_PUBLIC_URL.")
    for origin in config["CLIENT_ORIGIN"]:
        if not _is_same_site(urlsplit(origin), url):
            mend = "put both below one domain and on https, or let that front end use bearer tokens."
            if not _is_production() and _is_local(urlsplit(origin)) and _is_local(url):
                mend = "use the same name, localhost or 127.0.0.1, for both."
            return fail(f"AUTH_COOKIES are SameSite=Lax, so browsers send none from {origin} in CLIENT_ORIGIN: {mend}")
    return ok("AUTH_COOKIES work for AUTH_PUBLIC_URL and every CLIENT_ORIGIN.")


def origins() -> Finding:
    """Check that no front end which may read answers comes over a wire that others write to."""
    plain = [text for text in current_app.config["CLIENT_ORIGIN"] if _is_plain(text)]
    if plain and _is_production():
        local = all(_is_local(urlsplit(text)) for text in plain)
        says = f"CLIENT_ORIGIN has {plain[0]}, whose pages anybody on the way can change: use https, or take it out."
        return warning(says) if local else fail(says)
    return ok("CLIENT_ORIGIN is in order." if current_app.config["CLIENT_ORIGIN"] else "CLIENT_ORIGIN is empty.")


def proxies() -> Finding:
    """Check that clients have the addresses that they come from, neither a proxy's nor one they made up."""
    trusted, url = current_app.config["TRUSTED_PROXIES"], _public_url()
    if "authapp_health" not in current_app.blueprints:
        return _hosts_proxies()
    if trusted and _is_local(url):
        return warning(
            f"TRUSTED_PROXIES is {trusted}, but AUTH_PUBLIC_URL is this machine: "
            "without a proxy clients choose their own address; set 0."
        )
    if not trusted and url.scheme == "https":
        return warning(
            "TRUSTED_PROXIES is 0, but gunicorn speaks no https by itself, so a proxy does: "
            "set how many there are, else all clients share its address."
        )
    return ok(f"TRUSTED_PROXIES is {trusted}.")


def passwords() -> Finding:
    """Check what a stolen table of passwords would cost a thief, and how short or common a password may be."""
    config = current_app.config
    if _is_cheap(config["AUTH_PASSWORD_HASH"]):
        says = "AUTH_PASSWORD_HASH is below OWASP's minimum: leave it out, or use scrypt:32768:8:3 or more."
        return fail(says) if _is_production() else warning(says)
    if config["AUTH_PASSWORD_MIN_LENGTH"] < _LEAST_PASSWORD_LENGTH:
        return warning(f"AUTH_PASSWORD_MIN_LENGTH is below NIST's minimum: set {_LEAST_PASSWORD_LENGTH} or more.")
    if config["AUTH_PASSWORD_MIN_SCORE"] < _LEAST_PASSWORD_SCORE:
        score = config["AUTH_PASSWORD_MIN_SCORE"]
        return warning(
            f"AUTH_PASSWORD_MIN_SCORE is {score}, which lets in passwords that everybody tries: "
            f"set {_LEAST_PASSWORD_SCORE} or more."
        )
    return ok(f"Passwords are hashed with {config['AUTH_PASSWORD_HASH']}.")


def threads() -> Finding:
    """Check that those who wait for a password check leave threads to everybody else."""
    config = current_app.config
    waiting = config["AUTH_HASH_CONCURRENCY"] + config["AUTH_HASH_QUEUE"]
    if waiting > _MOST_WAITING:
        return warning(
            f"AUTH_HASH_CONCURRENCY and AUTH_HASH_QUEUE let {waiting} requests of a process wait for password checks: "
            f"lower them to {_MOST_WAITING} together, unless the server's threads are well above that."
        )
    return ok(f"At most {waiting} threads of a process wait for password checks.")


def _hosts_proxies() -> Finding:
    """Judge a host application, which TRUSTED_PROXIES does not reach: it puts ProxyFix around itself, or not."""
    if isinstance(current_app.wsgi_app, ProxyFix) or _public_url().scheme != "https":
        return ok("The host application's own affair, and nothing looks wrong.")
    return warning(
        "AUTH_PUBLIC_URL is https, but the application has no ProxyFix around it: "
        "behind a proxy all clients share its address."
    )


def _is_cheap(method: str) -> bool:
    name, *numbers = method.split(":")
    if name == "scrypt":
        n, r, p = (int(number) for number in numbers)
        return r < _LEAST_SCRYPT_R or not any(n >= least_n and p >= least_p for least_n, least_p in _LEAST_SCRYPT)
    digest, iterations = numbers
    return int(iterations) < _LEAST_PBKDF2.get(digest, min(_LEAST_PBKDF2.values()))


def _is_production() -> bool:
    return bool(current_app.config["APP_ENV"] == "production")


def _public_url() -> SplitResult:
    return urlsplit(str(current_app.config["AUTH_PUBLIC_URL"]))


def _days() -> int:
    days: int = current_app.config["REFRESH_TOKEN_EXPIRE_DAYS"]
    return days


def _is_plain(text: str | None) -> bool:
    return bool(text) and str(text).startswith("http:")


def _is_local(url: SplitResult) -> bool:
    host = url.hostname or ""
    address = _address(host)
    return address.is_loopback or address.is_unspecified if address else host.split(".")[-1] == "localhost"


def _is_example(url: SplitResult) -> bool:
    return ".".join((url.hostname or "").split(".")[-2:]) in _EXAMPLES


def _is_same_site(one: SplitResult, other: SplitResult) -> bool:
    """Say whether a browser may take the two for one site: by scheme and the name's last two labels.

    Below a public suffix of two labels (co.uk) two sites look like one: what is doubtful is not reported.
    """
    names = one.hostname or "", other.hostname or ""
    if _address(names[0]) or _address(names[1]):
        return names[0] == names[1] and one.scheme == other.scheme
    ends = [name.split(".")[-2:] for name in names]
    return ends[0] == ends[1] and one.scheme == other.scheme


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
