"""What requests of a hub's clients are understood as, and which are refused before anything is asked."""

from __future__ import annotations

import contextlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pckpt.bridges.hub_gateway.routes import Kind, RepoNotFound, Route, parse
from p2pckpt.errors import BadUsage, NotAllowed, NotFound, P2pckptError

SECRET = "s3cret-Of_a-gateway"

UNDERSTOOD = {
    "/api/whoami-v2": Route(Kind.WHOAMI),
    "/api/models/cars/sd15": Route(Kind.INFO, "cars/sd15"),
    "/api/models/bert?blobs=true": Route(Kind.INFO, "bert", query={"blobs": "true"}),
    "/api/datasets/cars/photos": Route(Kind.INFO, "cars/photos"),
    "/api/models/cars/sd15/revision/v3": Route(Kind.INFO, "cars/sd15", "v3"),
    "/api/models/bert/revision/refs%2Fpr%2F1": Route(Kind.INFO, "bert", "refs/pr/1"),
    "/api/models/cars/sd15/refs": Route(Kind.REFS, "cars/sd15"),
    "/api/models/bert/refs": Route(Kind.REFS, "bert"),
    "/api/models/cars/sd15/tree/main": Route(Kind.TREE, "cars/sd15"),
    "/api/models/cars/sd15/tree/main/unet%2Fsub?recursive=True": Route(
        Kind.TREE, "cars/sd15", "main", "unet/sub", {"recursive": "True"}
    ),
    "/api/models/bert/tree/v1/a/b": Route(Kind.TREE, "bert", "v1", "a/b"),
    "/cars/sd15/resolve/main/unet/a%20b.json": Route(Kind.RESOLVE, "cars/sd15", "main", "unet/a b.json"),
    "/bert/resolve/refs%2Fpr%2F1/config.json": Route(Kind.RESOLVE, "bert", "refs/pr/1", "config.json"),
    "/datasets/cars/photos/resolve/main/a.txt": Route(Kind.RESOLVE, "cars/photos", "main", "a.txt"),
    "/datasets/photos/resolve/main/a.txt": Route(Kind.RESOLVE, "photos", "main", "a.txt"),
    "/cars/sd15/resolve/main/resolve/main": Route(Kind.RESOLVE, "cars/sd15", "main", "resolve/main"),
}


@pytest.mark.parametrize("target", UNDERSTOOD)
def test_routes_are_read_from_the_raw_target(target: str) -> None:
    assert parse("GET", f"/{SECRET}{target}", SECRET) == UNDERSTOOD[target]


def test_paths_are_asked_about_by_post_and_everything_else_is_read() -> None:
    target = f"/{SECRET}/api/models/cars/sd15/paths-info/main"
    assert parse("POST", target, SECRET) == Route(Kind.PATHS_INFO, "cars/sd15")
    for method in ("GET", "PUT", "DELETE"):
        with pytest.raises(BadUsage):
            parse(method, target, SECRET)
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        with pytest.raises(BadUsage):
            parse(method, f"/{SECRET}/cars/sd15/resolve/main/x", SECRET)


@pytest.mark.parametrize("prefix", ["", "/", "/wrong", f"/{SECRET}x", f"/{SECRET[:-1]}", f"//{SECRET}", "/%00", "/%ff"])
def test_nothing_is_understood_without_the_secret(prefix: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        parse("GET", f"{prefix}/api/whoami-v2", SECRET)
    assert SECRET not in refused.value.fact + refused.value.next_step


@pytest.mark.parametrize(
    "target",
    ["", "/", "/api", "/api/models", "/api/spaces/a/b", "/api/models/a/b/c", "/cars/sd15/resolve/main", "/a/b/c", "/x"],
)
def test_what_is_no_route_is_not_found(target: str) -> None:
    with pytest.raises(NotFound):
        parse("GET", f"/{SECRET}{target}", SECRET)


@pytest.mark.parametrize(
    "name", ["..", ".git", "a%2Fb%2Fc", "a@v1", "a%00", "-x", "a" * 97, "a%0d%0ab", "%c3%a9", "%ff"]
)
def test_names_that_no_repository_has_are_not_asked_for(name: str) -> None:
    with pytest.raises(RepoNotFound):
        parse("GET", f"/{SECRET}/api/models/{name}", SECRET)


@given(st.text(max_size=200))
def test_any_target_is_a_route_or_refused_in_one_way(text: str) -> None:
    for target in (text, f"/{SECRET}/{text}", f"/{SECRET}/api/models/{text}"):
        with contextlib.suppress(P2pckptError):
            parse("GET", target, SECRET)


_SEGMENT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1, max_size=20)


@given(st.lists(_SEGMENT, min_size=1, max_size=4), _SEGMENT)
def test_a_path_and_a_revision_come_back_as_they_were_quoted(path: list[str], revision: str) -> None:
    name = "/".join(path)
    target = f"/{SECRET}/cars/sd15/resolve/{quote(revision, safe='')}/{quote(name)}"
    assert parse("GET", target, SECRET) == Route(Kind.RESOLVE, "cars/sd15", revision, name)


@pytest.mark.parametrize("text", ["é", "\udcff", "\x80"])
def test_a_target_is_ascii(text: str) -> None:
    for target in (f"/{text}/api/whoami-v2", f"/{SECRET}/cars/sd15/resolve/{text}/a"):
        with pytest.raises(BadUsage):
            parse("GET", target, SECRET)


def test_a_query_has_few_fields() -> None:
    with pytest.raises(BadUsage):
        parse("GET", f"/{SECRET}/api/models/a?" + "&".join(f"a{n}=1" for n in range(60)), SECRET)
