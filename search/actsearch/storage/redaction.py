"""Which parts of a storage URL may be shown: none that may be a password, wherever it stands.

Only what is known to be harmless is shown, and of a URL that cannot be read only its scheme: a password with an
unescaped ``/``, ``@`` or ``:`` moves its own parts to where a host or a database is expected.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus

from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

__all__ = [
    "Secrets",
    "is_ambiguous",
    "may_hold_password",
    "escape_unprintable",
    "quote_name",
    "redact",
    "split_secrets",
    "hide_password",
]

_HIDDEN = "***"
_QUOTED = quote(_HIDDEN)  # as SQLAlchemy writes it into a URL

_PUBLIC = frozenset(
    "application_name channel_binding client_encoding connect_timeout dbname fallback_application_name gssencmode "
    "gsslib host hostaddr keepalives keepalives_count keepalives_idle keepalives_interval krbsrvname "
    "load_balance_hosts options passfile port replication require_auth requirepeer service ssl_max_protocol_version "
    "ssl_min_protocol_version sslcert sslcompression sslcrl sslcrldir sslkey sslmode sslnegotiation sslrootcert sslsni "
    "target_session_attrs tcp_user_timeout user".split()
)
"""Options of libpq whose values are not secret; the value of any other option is hidden."""

_NAMED = _PUBLIC | frozenset(
    "cache cached_statements check_same_thread detect_types immutable isolation_level mode nolock passwd password "
    "psow pwd sslpassword timeout uri vfs".split()
)
"""Options that are shown with a hidden value; the name of any other may itself be a part of a password."""

# in the value of a public option: an option within an option, or the rest of a password with an unescaped character
_SUSPECT = re.compile(r"pass(?!file)|pwd|secret|token|credential|api_?key|@|;", re.IGNORECASE)
_ASSIGNED = re.compile(r"(pass|pwd|secret|token|key)\w*\s*[=:]", re.IGNORECASE)  # in a path
# what these parts are made of when they are well-formed; the rest of a misread password has other characters
_HOST = re.compile(r"[\w.:%,~/-]*")  # several with commas, IPv6, the folder of a socket
_USER = re.compile(r"[\w.@+ -]*")  # some servers want user@host
_DATABASE = re.compile(r"[^@:=?&;]*")
_LARGEST_PORT = 65535  # a larger number after a colon is part of a password


def redact(url: object) -> str:
    """A storage URL for messages, without what may be a password; of one that cannot be read only its beginning."""
    try:
        read = make_url(url)  # type: ignore[arg-type]  # what else a user hands over is refused by it
        if isinstance(url, str) and _is_plain_file(url, read):
            return url
        return _beginning(str(url)) if is_ambiguous(url, read) else _render_redacted(read)
    except (
        exc.ArgumentError,
        ValueError,
    ):  # ValueError: a port that is not a number, half a character
        return _beginning(str(url))


def _is_plain_file(text: str, url: URL) -> bool:
    """Whether a URL is the path of a file and nothing more, which is shown as it was written."""
    more = (url.username, url.password, *url.query.values())
    is_file = url.get_backend_name() == "sqlite" and all(item is None for item in more)
    return is_file and not _ASSIGNED.search(text)


def may_hold_password(text: str) -> bool:
    """Whether a text is a URL, or like a driver's ``host=... password=...``, or no file but like a mistyped URL."""
    if "://" in text or re.search(r"(pass|pwd)\w*\s*=", text, re.I):
        return True
    is_file = os.path.exists(text) if "\0" not in text else False
    return bool(re.match(r"(?![a-z]:[\\/])[^@]*:[^@]*@", text, re.I) and not is_file)


def hide_password(name: str) -> str:
    """The name of a study for messages; a URL that was given instead of one loses its password."""
    if may_hold_password(name) and _HIDDEN in (shown := redact(name)):
        return shown
    return name


def quote_name(name: object) -> str:
    """What was given as the name of a study, in quotes and without a password."""
    return repr(hide_password(name)) if isinstance(name, str) else hide_password(repr(name))


def escape_unprintable(text: object, *, keep_lines: bool = False) -> str:
    """A text in which everything that could change a terminal, or not reach it, is escaped.

    Args:
        text: what is to be printed.
        keep_lines: leave line feeds as they are.
    """
    return "".join(
        c if c.isprintable() or (keep_lines and c == "\n") else c.encode("unicode_escape").decode()
        for c in str(text)
    )


def _beginning(text: str) -> str:
    """The part of an unreadable URL that cannot be a secret: the scheme, or all of a plain file name."""
    scheme = re.match(r"\s*([A-Za-z][\w+]*)://", text)
    if scheme:
        return f"{scheme[1]}://{_HIDDEN}"
    return text if _DATABASE.fullmatch(text) or _is_harmless(text) else _HIDDEN


def _is_harmless(text: str) -> bool:
    """Whether a text without a scheme is a file name with a prefix at most, as in ``sqlite:/study.db`` or ``C:\\``."""
    return bool(re.match(r"(sqlite:|file:|[A-Za-z]:[\\/])[^@=?&;]*$", text))


def is_ambiguous(text: object, url: URL) -> bool:
    """Whether a URL may have been misread, because of an unescaped ``@``, ``/`` or ``:`` in a password."""
    without_user = url.username is None and url.password is None
    if url.get_backend_name() == "sqlite" and without_user:
        return False  # a path may hold all of them
    if url.port is not None and not 0 < url.port <= _LARGEST_PORT:
        return True
    head = "" if isinstance(text, URL) else str(text).partition("://")[2].partition("?")[0]
    # more @ than the one before the host: the others belong to a password
    return not _HOST.fullmatch(url.host or "") or head.count("@") > (0 if without_user else 1)


def _render_redacted(url: URL) -> str:
    """A storage URL that was read, for messages."""
    query: dict[str, str | tuple[str, ...]] = {}
    for name, value in url.query.items():
        if _is_public(name, value):
            query[name] = value
        else:
            query[name if name.lower() in _NAMED else _HIDDEN] = _HIDDEN
    user, database = url.username, url.database
    if user is not None and not _USER.fullmatch(user):
        user = _HIDDEN
    if database is not None and not _is_plain(url, database):
        database = _HIDDEN
    parts = URL.create(
        url.drivername, user, url.password, url.host, url.port, database, query
    ).render_as_string(hide_password=True)
    return parts.replace(_QUOTED, _HIDDEN)


def _is_plain(url: URL, database: str) -> bool:
    if url.get_backend_name() == "sqlite":
        return not _ASSIGNED.search(database)
    return bool(_DATABASE.fullmatch(database))


def _is_public(name: str, value: str | tuple[str, ...]) -> bool:
    return name in _PUBLIC and not _SUSPECT.search("".join(value))


def split_secrets(url: URL) -> tuple[URL, dict[str, str]]:
    """A URL without its secrets, and the secrets as arguments for the driver: an engine shows its URL in its repr."""
    hidden = {name: value for name, value in url.query.items() if not _is_public(name, value)}
    public = {name: value for name, value in url.query.items() if name not in hidden}
    bare = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, public)
    arguments = {} if url.password is None else {"password": str(url.password)}
    for name, value in hidden.items():
        arguments[name] = value if isinstance(value, str) else value[-1]
    return bare, arguments


class Secrets:
    """The passwords of a storage URL, kept to recognise them in the messages of a driver."""

    __slots__ = ("_texts",)

    def __init__(self, url: URL) -> None:
        secrets = _secrets(url.password, url.query)
        self._texts = {form for text in secrets for form in (text, quote(text), quote_plus(text))}

    def __repr__(self) -> str:
        return f"Secrets({_HIDDEN})"

    def clean(self, text: str) -> str:
        """A driver's message; hidden as a whole if it contains a secret, as the rest would give it away."""
        if any(secret in text for secret in self._texts):
            return "the message of the driver is not shown, because it contains a password"
        return text

    def origin(self, error: BaseException) -> BaseException | None:
        """An error that may be the cause of ours; None if a traceback would show a secret with it."""
        texts = "\n".join(str(item) for item in _chain(error))
        return error if self.clean(texts) == texts else None


def _secrets(password: object, query: Mapping[str, str | tuple[str, ...]]) -> Iterator[str]:
    if password:
        yield str(password)
    for name, value in query.items():
        if not _is_public(name, value):
            yield from filter(None, [value] if isinstance(value, str) else value)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error with all that a traceback prints before it, and what the driver raised."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        item = waiting.pop()
        if item is not None and id(item) not in seen:
            seen.add(id(item))
            yield item
            waiting += [item.__cause__, item.__context__, getattr(item, "orig", None)]
