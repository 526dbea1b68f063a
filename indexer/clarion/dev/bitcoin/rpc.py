"""Serves a regtest node as Bitcoin Core does: JSON-RPC 1.x and 2.0 over HTTP, alone or in batches, with a password or
a cookie file (``httprpc.cpp``, ``rpc/request.cpp``).
"""

from __future__ import annotations

import base64
import hmac
import inspect
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clarion.dev.bitcoin.rpc_errors import Code, RpcError
from clarion.dev.bitcoin.rpc_methods import RpcMethods

COOKIE_USER: Final = "__cookie__"
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_STATUS: Final = {Code.METHOD_NOT_FOUND: 404, Code.INVALID_REQUEST: 400}


def write_cookie(path: Path) -> tuple[str, str]:
    """Write a new cookie file, readable by its owner only; gives user and password."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    password = secrets.token_hex(32)
    path.write_text(f"{COOKIE_USER}:{password}", encoding="ascii")
    return COOKIE_USER, password


def rpc_app(methods: RpcMethods, *, user: str, password: str) -> Starlette:
    """The HTTP application; every request needs the user and password (basic authentication)."""
    table = {name: getattr(methods, name) for name in methods.names()}
    expected = b"Basic " + base64.b64encode(f"{user}:{password}".encode())

    async def answer(request: Request) -> Response:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, expected):
            return Response(status_code=401, headers={"WWW-Authenticate": 'Basic realm="jsonrpc"'})
        try:
            asked = msgspec.json.decode(await request.body())
        except msgspec.DecodeError:
            return _response(500, _failure(None, RpcError(Code.PARSE_ERROR, "Parse error"), modern=False))
        if isinstance(asked, list):
            answers = [one for call in asked if (one := (await _call(table, call))[1]) is not None]
            return _response(200, answers)
        status, form = await _call(table, asked)
        return Response(status_code=204) if form is None else _response(status, form)

    return Starlette(routes=[Route("/", answer, methods=["POST"])])


async def _call(table: Mapping[str, Any], call: object) -> tuple[int, dict[str, Any] | None]:
    """Status and body of the answer to one call; no body for a notification."""
    if not isinstance(call, dict):
        return 400, _failure(None, RpcError(Code.INVALID_REQUEST, "Invalid Request object"), modern=False)
    modern = call.get("jsonrpc") == "2.0"
    try:
        result = await _result(table, call)
    except RpcError as error:
        status = 200 if modern else _STATUS.get(error.code, 500)
        form = _failure(call.get("id"), error, modern=modern)
    else:
        status = 200
        form = {"result": result, "id": call.get("id")}
        form |= {"jsonrpc": "2.0"} if modern else {"error": None}
    return status, None if modern and "id" not in call else form


async def _result(table: Mapping[str, Any], call: dict[str, Any]) -> object:
    name, given = call.get("method"), call.get("params") or []
    if not isinstance(name, str):
        raise RpcError(Code.INVALID_REQUEST, "Method must be a string")
    if not isinstance(given, list | dict):
        raise RpcError(Code.INVALID_REQUEST, "Params must be an array or object")
    method = table.get(name)
    if method is None:
        raise RpcError(Code.METHOD_NOT_FOUND, "Method not found")
    positional, named = (given, {}) if isinstance(given, list) else ([], given)
    while positional and positional[-1] is None:  # what is null at the end was left out
        positional = positional[:-1]
    try:
        bound = inspect.signature(method).bind(*positional, **named)
    except TypeError as error:
        raise RpcError(Code.MISC, f"{name}{inspect.signature(method)}: {error}") from None
    try:
        result = method(*bound.args, **bound.kwargs)
        return await result if inspect.isawaitable(result) else result
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        # parameters of the wrong kind: what a method does not check itself does not go far with them
        raise RpcError(Code.TYPE, f"{name} cannot do with these parameters: {error}") from error


def _failure(call_id: object, error: RpcError, *, modern: bool) -> dict[str, Any]:
    form: dict[str, Any] = {"error": {"code": int(error.code), "message": error.message}, "id": call_id}
    return form | ({"jsonrpc": "2.0"} if modern else {"result": None})


def _response(status: int, form: object) -> Response:
    return Response(_ENCODER.encode(form) + b"\n", status_code=status, media_type="application/json")
