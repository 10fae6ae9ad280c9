"""What a log may show of an exception: where it came from, and none of the values that a database quotes."""

import sqlite3

from sqlalchemy.exc import PendingRollbackError, StatementError


def to_log(error: BaseException) -> BaseException:
    """Give the exception to log for this one, as `exc_info`, without the values of rows and of statements.

    A driver quotes them in its words: an address that is taken, the part of a statement that the server did not
    understand. They would stand in the trace of whatever went wrong because of that, too.
    """
    if isinstance(error, StatementError | PendingRollbackError):
        return Exception(_named(error)).with_traceback(error.__traceback__)
    if error.__cause__ is not None:
        error.__cause__ = to_log(error.__cause__)
    elif error.__context__ is not None and not error.__suppress_context__:
        error.__context__ = to_log(error.__context__)
    return error


def _named(error: StatementError | PendingRollbackError) -> str:
    """Say which error it is: its class, the driver's class and code, and the statement with placeholders.

    SQLite's words name tables and columns only: it gets the values beside the statement, as PyMySQL's server does not.
    """
    if isinstance(error, PendingRollbackError) or error.orig is None:
        return type(error).__name__
    is_safe = isinstance(error.orig, sqlite3.Error)
    codes = [str(part) for part in error.orig.args if is_safe or isinstance(part, int)]
    driver = " ".join([type(error.orig).__name__, *codes])
    return f"{type(error).__name__} ({driver}) [SQL: {error.statement}]"
