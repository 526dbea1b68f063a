"""Where a request comes from, and the id it is known by.

What proxies say is believed only of proxies that the operator named: anybody can send a header.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import count
from typing import Final
from urllib.parse import urlsplit

import msgspec
from starlette.types import Scope as AsgiScope

from clarion.config import ProxyHeader

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

#: What a provider gives one customer of IPv6: such a network is one caller.
IPV6_PREFIX: Final = 64

_FORWARDED_FOR: Final = re.compile(r'(?:^|;)\s*for\s*=\s*("?)([^";]*)\1\s*(?:;|$)', re.IGNORECASE)
_WITH_PORT: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|([0-9.]+):\d{1,5}")
_PROCESS: Final = os.urandom(8).hex()
_REQUESTS: Final = count(1)
_REQUEST_ID: Final = re.compile(r"[0-9A-Za-z._-]{1,128}")


class Request(msgspec.Struct, frozen=True):
    """What the headers of a request say of who sends it."""

    client: str
    """Network address; empty where there is none, as over a Unix socket."""
    request_id: str
    authorization: str | None
    origin: str | None
    """Host and port of the page that asks; ``null`` for a page without one, None where no browser asks."""


class Proxies:
    """The proxies before the server, and the header that they say a client's address in."""

    def __init__(self, networks: Iterable[str], header: ProxyHeader = ProxyHeader.X_FORWARDED_FOR) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._header = header.value.lower().encode()
        self._read = _forwarded if header is ProxyHeader.FORWARDED else _x_forwarded_for

    def read(self, scope: AsgiScope) -> Request:
        """What a request says, of which only what is to be believed."""
        authorization = origin = request_id = None
        forwarded: list[str] = []
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value.decode("latin-1")
            elif name == b"origin":
                origin = host_of(value.decode("latin-1"))
            elif name == b"x-request-id":
                request_id = value.decode("latin-1")
            elif name == self._header:
                forwarded.append(value.decode("latin-1"))
        client = scope.get("client")
        peer = client[0] if client else ""
        if not self._trusts(peer):
            return Request(peer, _new_request_id(), authorization, origin)
        if request_id is None or not _REQUEST_ID.fullmatch(request_id):
            request_id = _new_request_id()
        return Request(self._client_behind(peer, forwarded), request_id, authorization, origin)

    def _trusts(self, address: str) -> bool:
        if not self._networks:
            return False
        known = _address(address)
        return known is not None and any(known in network for network in self._networks)

    def _client_behind(self, peer: str, forwarded: Sequence[str]) -> str:
        """The nearest address that is no proxy of ours: what lies beyond it anybody may have written."""
        nearest = peer
        for said in reversed(self._read(",".join(forwarded))):
            found = _address(said)
            if found is None:
                break
            nearest = str(found)
            if not self._trusts(nearest):
                break
        return nearest


def _x_forwarded_for(value: str) -> list[str]:
    return [part.strip() for part in value.split(",")] if value else []


def _forwarded(value: str) -> list[str]:
    """The ``for`` of each element (RFC 7239); empty text where it has none."""
    if not value:
        return []
    found = (_FORWARDED_FOR.search(element.strip()) for element in value.split(","))
    return ["" if match is None else match[2] for match in found]


@lru_cache(maxsize=4096)
def _address(text: str) -> IpAddress | None:
    """An address with or without a port; None for anything else."""
    if found := _WITH_PORT.fullmatch(text):
        text = found[1] or found[2]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


@lru_cache(maxsize=4096)
def network_key(client: str) -> str:
    """What one network address counts as: itself, or its /64 where it is of IPv6."""
    address = _address(client)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
    return client if address is None else str(address)


@lru_cache(maxsize=1024)
def host_of(origin: str) -> str:
    """Host and port of an ``Origin`` header in small letters; ``null`` where it names no host."""
    return urlsplit(origin).netloc.lower() or "null"


def _new_request_id() -> str:
    """Another one for every request of every process."""
    return f"{_PROCESS}-{next(_REQUESTS):x}"
