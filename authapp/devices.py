"""What a session was started from, in the words that a person would use."""

from functools import lru_cache


@lru_cache(maxsize=1024)
def describe(user_agent: str | None) -> str | None:
    """Name the browser and the system of a User-Agent header, such as "Firefox on Windows"; `None` if neither shows."""
    # Its tables are large, and only the list of sessions needs them.
    import ua_parser

    # Not the maker and model of the device, which nobody is told: that is a thousand patterns more.
    seen = (parse(user_agent or "") for parse in (ua_parser.parse_user_agent, ua_parser.parse_os))
    names = (part.family for part in seen if part is not None and part.family != "Other")
    return " on ".join(names) or None
