"""What a request asks for, read from its raw target: ``refs%2Fpr%2F1`` is one segment.

``/SECRET`` is in front of everything. Then, with REPO as ``name`` or ``org/name``, and models or datasets as TYPE:
``/api/whoami-v2`` · ``/api/TYPE/REPO`` · ``…/revision/REV`` · ``…/refs`` · ``…/tree/REV[/PATH]`` ·
``…/paths-info/REV`` (POST) · ``[/datasets]/REPO/resolve/REV/PATH`` (GET, HEAD).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, unquote

from p2pckpt.errors import BadUsage, NotAllowed, NotFound

DEFAULT_REVISION: Final = "main"
_REPO: Final = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}(/[A-Za-z0-9_][\w.-]{0,95})?", re.ASCII)
_TYPES: Final = ("models", "datasets")
_MAX_QUERY: Final = 50
"""Fields of a query; clients send half a dozen."""


class Kind(StrEnum):
    WHOAMI = "whoami"
    INFO = "info"
    REFS = "refs"
    TREE = "tree"
    PATHS_INFO = "paths-info"
    RESOLVE = "resolve"


METHODS: Final[Mapping[Kind, tuple[str, ...]]] = {
    kind: ("POST",) if kind is Kind.PATHS_INFO else ("GET", "HEAD") for kind in Kind
}


class RepoNotFound(NotFound):
    """No share is called so, or it is none that could be."""


@dataclass(frozen=True, slots=True)
class Route:
    """One request, understood."""

    kind: Kind
    repo: str = ""
    revision: str = DEFAULT_REVISION
    path: str = ""
    """Of a file, or the directory that ``TREE`` lists."""
    query: Mapping[str, str] = field(default_factory=dict)


def parse(method: str, target: str, secret: str) -> Route:
    """The route of a request's raw target.

    Raises ``NotAllowed`` without the right secret, ``NotFound`` for what is no route, ``RepoNotFound`` for a name that
    no repository has, ``BadUsage`` for another method than the route's, and for what can't be read.
    """
    if not target.isascii():
        raise BadUsage("what is no ASCII is percent-encoded in a target")
    raw, _, query = target.partition("?")
    given, *segments = [unquote(segment, errors="replace") for segment in raw.removeprefix("/").split("/")]
    if not hmac.compare_digest(given.encode(), secret.encode()):
        raise NotAllowed(
            "the address of this gateway has a secret in it, and this is not it", next_step="p2pckpt gateway env"
        )
    route = _route([segment for segment in segments if segment], query)
    if method not in METHODS[route.kind]:
        raise BadUsage(f"the gateway only reads: {method} is not for {route.kind}")
    return route


def _route(segments: Sequence[str], query: str) -> Route:
    match segments:
        case ["api", "whoami-v2"]:
            return Route(Kind.WHOAMI)
        case ["api", kind, *rest] if kind in _TYPES:
            return _api(rest, _fields(query))
        case ["datasets", first, *rest] if "resolve" in rest[:2]:
            return _resolve([first, *rest])
        case [_, *rest] if "resolve" in rest[:2]:
            return _resolve(segments)
    raise NotFound("the gateway has no such route")


def _api(segments: Sequence[str], query: Mapping[str, str]) -> Route:
    for length in (1, 2):  # a name without an organisation, or one with
        repo, rest = "/".join(segments[:length]), segments[length:]
        match rest:
            case ["refs"]:
                return Route(Kind.REFS, _repo(repo))
            case ["revision", revision]:
                return Route(Kind.INFO, _repo(repo), revision, query=query)
            case ["tree", revision, *path]:
                return Route(Kind.TREE, _repo(repo), revision, "/".join(path), query)
            case ["paths-info", revision]:
                return Route(Kind.PATHS_INFO, _repo(repo), revision)
    if 1 <= len(segments) <= 2:
        return Route(Kind.INFO, _repo("/".join(segments)), query=query)
    raise NotFound("the gateway has no such route")


def _resolve(segments: Sequence[str]) -> Route:
    at = 1 if segments[1] == "resolve" else 2
    if len(segments) < at + 3:
        raise NotFound("the gateway has no such route")
    return Route(Kind.RESOLVE, _repo("/".join(segments[:at])), segments[at + 1], "/".join(segments[at + 2 :]))


def _repo(name: str) -> str:
    if not _REPO.fullmatch(name):
        raise RepoNotFound("a share that is asked for here is called name or org/name")
    return name


def _fields(query: str) -> Mapping[str, str]:
    try:
        return dict(parse_qsl(query, max_num_fields=_MAX_QUERY))
    except ValueError as exc:
        raise BadUsage("the query has too many fields") from exc
