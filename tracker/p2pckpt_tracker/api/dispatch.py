"""Joins the table of routes with the operations. Every request passes ``_serve``, so none can skip the table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import ModuleType

import structlog
from aiohttp import web

from p2pckpt.tracker_protocol import PROBLEM_LICENCE, Role

from ..route_table import ROUTES, Route, Who
from ..store.database import StoreUnavailable
from . import (
    account_routes,
    blob_routes,
    link_routes,
    log_routes,
    member_routes,
    request_routes,
    share_routes,
    swarm_routes,
)
from .call import Call, Refusal, not_found, problem_response
from .services import Services

Operation = Callable[[Call], Awaitable[web.StreamResponse]]

_MODULES: tuple[ModuleType, ...] = (
    account_routes,
    share_routes,
    blob_routes,
    member_routes,
    request_routes,
    log_routes,
    link_routes,
    swarm_routes,
)

_log = structlog.get_logger(__name__)


def api_app(services: Services) -> web.Application:
    """The API as an application."""
    app = web.Application(middlewares=[_as_problem])
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _serve(services, route, operation_of(route)))
    return app


def operation_of(route: Route) -> Operation:
    """The function that serves a route."""
    (found,) = (getattr(module, route.name) for module in _MODULES if hasattr(module, route.name))
    operation: Operation = found
    return operation


def _serve(
    services: Services, route: Route, operation: Operation
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            return await operation(_admit(services, route, request))
        except Refusal as refusal:
            return problem_response(refusal.problem)
        except (StoreUnavailable, OSError) as exc:
            if isinstance(exc, ConnectionError):
                raise
            _log.warning("store unavailable", route=route.name, error=type(exc).__name__)
            return problem_response(Refusal(503, "store unavailable", "nothing was changed").problem)
        except web.HTTPException:
            raise
        except Exception as exc:
            trace = exc.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            line = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
            # The message could quote the request; the place is enough to find the fault.
            _log.error("operation failed", route=route.name, error=type(exc).__name__, where=line)
            return problem_response(Refusal(500, "internal error").problem)

    return serve


def _admit(services: Services, route: Route, request: web.Request) -> Call:
    """Check the caller against the table. 401 without a valid token, 404 for shares the caller can't view."""
    seen = services.desk.seen(request)
    if seen is None:
        raise Refusal(400, "no usable address")
    share_id = request.match_info.get("share", "")
    if route.need is Who.ANYONE:
        return Call(request, services, seen, "", share_id, None)
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    identity = services.rules.identity_of(token.strip()) if scheme.lower() == "bearer" else None
    if identity is None:
        raise Refusal(401, "not logged in", "the token is missing, unknown or expired")
    if route.need is Who.ACCOUNT:
        return Call(request, services, seen, identity, "", None)
    role = services.rules.role(share_id, identity)
    if role is None:
        raise not_found()
    assert isinstance(route.need, Role)
    if not role.covers(route.need):
        raise Refusal(403, "role too low", f"needs {route.need}, and the caller is {role}")
    licence = services.rules.licence_due(share_id, identity) if route.licence else ""
    if licence:
        raise Refusal(403, "licence not accepted", licence, PROBLEM_LICENCE)
    return Call(request, services, seen, identity, share_id, role)


@web.middleware
async def _as_problem(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answers for paths and methods that are in no table, in the same form as all others."""
    try:
        return await handler(request)
    except web.HTTPException as exc:
        if exc.status < 400:
            raise
        return problem_response(Refusal(exc.status, exc.reason).problem)
