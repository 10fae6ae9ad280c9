"""Checks of the limits: whether there are any, and whether all processes share them."""

from flask import current_app

from authapp.doctor.finding import Finding, fail, ok, warning
from authapp.limiter import AwayError, Limiter


def limits() -> Finding:
    """Check that tries are limited, by counts that all processes share and that nothing removes."""
    config = current_app.config
    is_development = config["APP_ENV"] == "development"
    limiter: Limiter = current_app.extensions["authapp"].limiter
    if not config["RATELIMIT_ENABLED"]:
        found = warning if is_development else fail
        return found("Nothing limits how often a password is tried: take RATELIMIT_ENABLED=false out.")
    if not config["REDIS_URL"]:
        says = "Each process counts tries in its own memory, anew after every start"
        if is_development:
            return ok(f"{says}; in production set REDIS_URL.")
        return warning(f"{says}: set REDIS_URL, for limits that hold over processes and machines.")
    try:
        eviction = limiter.eviction()
    except AwayError as error:
        return fail(
            f"Redis does not answer ({error}), so each process counts tries by itself: "
            "check REDIS_URL; see that it runs."
        )
    if eviction != "noeviction" and not str(eviction).startswith("volatile-"):
        return warning(f"Redis drops any key when its memory is full ({eviction}): set maxmemory-policy volatile-ttl.")
    return ok("All processes share the limits, in Redis.")
