"""Every refusal that a client can meet: its code, its status and its sentence.

Rules raise these; `authapp.api` turns them into answers. The docstrings are in the API's document, for
authors of clients. A refusal rolls the request back, unless its class says `keep_changes`: then what the rule changed
before it refused is committed.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Details: TypeAlias = Mapping[str, Sequence[str]]


USER_GONE = "The user no longer exists."


class AuthError(Exception):
    """A refusal with a stable code; every class below is one that a client may act on."""

    status = 400
    code = "BAD_REQUEST"
    message = "The request could not be understood."
    keep_changes = False
    retry_after_seconds: int | None = None

    def __init__(
        self,
        message: str | None = None,
        *,
        details: Details | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        self.message = message or type(self).message
        self.details = details
        self.headers = dict(headers or {})
        if seconds := retry_after_seconds or type(self).retry_after_seconds:
            self.headers["Retry-After"] = str(seconds)
        super().__init__(self.message)


class BadRequestError(AuthError):
    """The body is not what its content type says."""


class ValidationError(AuthError):
    """A well-formed body with a field that is missing, unknown, of the wrong type or refused by a rule."""

    status = 422
    code = "VALIDATION_ERROR"
    message = "Some fields are missing or not valid."


class UnsupportedMediaTypeError(AuthError):
    """The body has a content type that the route does not read."""

    status = 415
    code = "UNSUPPORTED_MEDIA_TYPE"
    message = "The body must be JSON, sent as application/json in UTF-8."


class PayloadTooLargeError(AuthError):
    """The body is longer than `MAX_CONTENT_LENGTH`."""

    status = 413
    code = "PAYLOAD_TOO_LARGE"
    message = "The body is too large."


class NotFoundError(AuthError):
    """There is nothing at this address, or it is not the caller's."""

    status = 404
    code = "NOT_FOUND"
    message = "There is nothing here."


class MethodNotAllowedError(AuthError):
    """The address exists, the method does not."""

    status = 405
    code = "METHOD_NOT_ALLOWED"
    message = "This address does not answer to this method."


class UserAlreadyExistsError(AuthError):
    """The e-mail address belongs to an account."""

    status = 409
    code = "USER_ALREADY_EXISTS"
    message = "An account with this e-mail address already exists."


class UnauthorizedError(AuthError):
    """No credentials where some are needed."""

    status = 401
    code = "UNAUTHORIZED"
    message = "You are not logged in."


class InvalidCredentialsError(UnauthorizedError):
    """Wrong e-mail address or wrong password; it never says which."""

    # OWASP Authentication Cheat Sheet.
    code = "INVALID_CREDENTIALS"
    message = "The e-mail address or the password is wrong."


class TokenInvalidError(UnauthorizedError):
    """A token that was not signed here for this use, or whose user is gone."""

    code = "TOKEN_INVALID"
    message = "The token is not valid."


class TokenExpiredError(UnauthorizedError):
    """A token past its `exp`."""

    code = "TOKEN_EXPIRED"
    message = "Token has expired"


class TokenRevokedError(UnauthorizedError):
    """A token whose session is over, or that was revoked by itself."""

    code = "TOKEN_REVOKED"
    message = "The token has been revoked."


class TokenReusedError(UnauthorizedError):
    """A rotated refresh token came back: its session has just been ended."""

    # RFC 9700, 4.14.2.
    code = "TOKEN_REUSED"
    message = "The refresh token was used before. For safety, its session has been ended."
    keep_changes = True


class FreshLoginRequiredError(UnauthorizedError):
    """The access token is good, but the password was given too long ago for what is asked."""

    code = "FRESH_LOGIN_REQUIRED"
    message = "Please log in again to do this."


class ForbiddenError(AuthError):
    """The caller is known and not allowed."""

    status = 403
    code = "FORBIDDEN"
    message = "You are not allowed to do this."


class CSRFFailedError(ForbiddenError):
    """A request that its cookies alone would let in, without the CSRF token that goes with them."""

    code = "CSRF_FAILED"
    message = "The X-CSRF-TOKEN header is missing or wrong."


class EmailNotVerifiedError(ForbiddenError):
    """The password is right, the address is not verified yet."""

    code = "EMAIL_NOT_VERIFIED"
    message = "Please verify your e-mail address first."


class AccountDisabledError(ForbiddenError):
    """The password is right, an operator has switched the account off."""

    code = "ACCOUNT_DISABLED"
    message = "This account is disabled."


class LinkInvalidError(AuthError):
    """A mailed link that was tampered with, used, superseded or made for another purpose."""

    code = "LINK_INVALID"
    message = "Invalid or expired token"


class LinkExpiredError(AuthError):
    """A mailed link that is too old."""

    code = "LINK_EXPIRED"
    message = "Invalid or expired token"


class RateLimitedError(AuthError):
    """Too many tries of this kind, by this client or for this account."""

    status = 429
    code = "RATE_LIMITED"
    message = "Too many tries. Please wait a while."
    retry_after_seconds = 60


class ServerBusyError(AuthError):
    """Too many password checks are waiting already."""

    status = 503
    code = "SERVER_BUSY"
    message = "The server is busy. Please try again in a moment."
    retry_after_seconds = 2


class ServiceUnavailableError(ServerBusyError):
    """The database does not answer, or not in time."""

    code = "SERVICE_UNAVAILABLE"
    message = "The service is not available right now. Please try again in a moment."


class EmailNotSentError(AuthError):
    """The mail server refused the mail that the request depends on; nothing was saved."""

    status = 503
    code = "EMAIL_NOT_SENT"
    message = "Email couldn't be sent. Please try again."


class InternalError(AuthError):
    """A bug of the service; its log has the trace under the request id."""

    status = 500
    code = "INTERNAL_ERROR"
    message = "Something went wrong on our side."


def every_kind(base: type[AuthError] = AuthError) -> set[type[AuthError]]:
    """Give every refusal of this module; a host application may have more of its own."""
    own = {base} if base.__module__ == __name__ else set()
    return own.union(*(every_kind(child) for child in base.__subclasses__()))
