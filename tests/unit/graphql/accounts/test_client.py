"""Where requests come from: headers of strangers count for nothing."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.config import ProxyHeader
from clarion_graphql.accounts.client import Proxies, host_of, network_key

LOAD_BALANCER = "10.1.0.7"


def scope(peer: str | None, **headers: str | list[str]) -> dict[str, Any]:
    listed = [
        (name.replace("_", "-").encode(), value.encode())
        for name, values in headers.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    return {"type": "http", "client": None if peer is None else (peer, 1234), "headers": listed}


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.5", None, "203.0.113.5"),
        ("203.0.113.5", "198.51.100.1", "203.0.113.5"),  # no proxy of ours says so
        (LOAD_BALANCER, None, LOAD_BALANCER),
        (LOAD_BALANCER, "198.51.100.1", "198.51.100.1"),
        (LOAD_BALANCER, "1.1.1.1, 198.51.100.1", "198.51.100.1"),  # the client wrote 1.1.1.1 itself
        (LOAD_BALANCER, "1.1.1.1, 198.51.100.1, 10.1.0.8", "198.51.100.1"),  # through two of ours
        (LOAD_BALANCER, "10.1.0.9, 10.1.0.8", "10.1.0.9"),  # a client inside our own network
        (LOAD_BALANCER, "198.51.100.1:5123", "198.51.100.1"),
        (LOAD_BALANCER, "[2001:db8::1]:5123", "2001:db8::1"),
        (LOAD_BALANCER, "2001:db8::1", "2001:db8::1"),
        (LOAD_BALANCER, "::ffff:198.51.100.1", "198.51.100.1"),
        (LOAD_BALANCER, "198.51.100.1, unknown", LOAD_BALANCER),
        (LOAD_BALANCER, "198.51.100.1, unknown, 10.1.0.8", "10.1.0.8"),
        (LOAD_BALANCER, "", LOAD_BALANCER),
        (LOAD_BALANCER, ", ,", LOAD_BALANCER),
        ("::ffff:10.1.0.7", "198.51.100.1", "198.51.100.1"),
        (None, "198.51.100.1", ""),
    ],
)
def test_the_nearest_address_that_is_no_proxy_is_the_client(
    peer: str | None, forwarded: str | None, client: str
) -> None:
    proxies = Proxies(["10.1.0.0/16"])
    headers = {} if forwarded is None else {"x_forwarded_for": forwarded}
    assert proxies.read(scope(peer, **headers)).client == client


def test_a_header_in_pieces_is_one_list() -> None:
    proxies = Proxies(["10.1.0.0/16"])
    request = scope(LOAD_BALANCER, x_forwarded_for=["1.1.1.1", "198.51.100.1", "10.1.0.8"])
    assert proxies.read(request).client == "198.51.100.1"


def test_without_proxies_nobody_is_believed() -> None:
    request = scope("127.0.0.1", x_forwarded_for="198.51.100.1", forwarded="for=198.51.100.1", x_request_id="mine")
    read = Proxies([]).read(request)
    assert read.client == "127.0.0.1"
    assert read.request_id != "mine"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("for=198.51.100.1", "198.51.100.1"),
        ("For=198.51.100.1;proto=https;by=10.1.0.7", "198.51.100.1"),
        ('proto=https;for="[2001:db8::1]:4711"', "2001:db8::1"),
        ("for=1.1.1.1, for=198.51.100.1", "198.51.100.1"),
        ("for=198.51.100.1, for=10.1.0.8", "198.51.100.1"),
        ("for=198.51.100.1, for=_hidden", LOAD_BALANCER),
        ("for=198.51.100.1, proto=https", LOAD_BALANCER),
        ("xfor=198.51.100.1", LOAD_BALANCER),
    ],
)
def test_the_standard_header(forwarded: str, client: str) -> None:
    proxies = Proxies(["10.1.0.0/16"], ProxyHeader.FORWARDED)
    assert proxies.read(scope(LOAD_BALANCER, forwarded=forwarded)).client == client


def test_the_header_that_the_proxy_does_not_set_is_the_clients_own() -> None:
    request = scope(LOAD_BALANCER, forwarded="for=1.1.1.1", x_forwarded_for="198.51.100.1")
    assert Proxies(["10.1.0.0/16"]).read(request).client == "198.51.100.1"
    assert Proxies(["10.1.0.0/16"], ProxyHeader.FORWARDED).read(request).client == "1.1.1.1"


@given(st.text(st.characters(codec="latin-1"), max_size=60), st.sampled_from(ProxyHeader))
def test_no_header_breaks_anything(text: str, header: ProxyHeader) -> None:
    name = header.value.lower().encode()
    request = {"type": "http", "client": (LOAD_BALANCER, 1), "headers": [(name, text.encode("latin-1"))]}
    assert Proxies(["10.1.0.0/16"], header).read(request).client


def test_a_proxys_request_id_is_kept_unless_it_could_deceive_who_reads_the_log() -> None:
    proxies = Proxies(["10.1.0.0/16"])
    assert proxies.read(scope(LOAD_BALANCER, x_request_id="a1-b2.c3_d4")).request_id == "a1-b2.c3_d4"
    forged = proxies.read(scope(LOAD_BALANCER, x_request_id='a" level=error')).request_id
    assert re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]+", forged)
    assert len({proxies.read(scope("203.0.113.5")).request_id for _ in range(100)}) == 100


def test_one_customer_of_ipv6_is_one_caller() -> None:
    assert network_key("2001:db8:0:1:aaaa::1") == network_key("2001:db8:0:1:bbbb::2") == "2001:db8:0:1::/64"
    assert network_key("2001:db8:0:2::1") != network_key("2001:db8:0:1::1")
    assert network_key("198.51.100.1") == "198.51.100.1"
    assert network_key("") == ""


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://app.example.com", "app.example.com"),
        ("https://APP.example.com:8443", "app.example.com:8443"),
        ("null", "null"),
        ("", "null"),
        ("file://", "null"),
    ],
)
def test_the_page_that_asks(origin: str, host: str) -> None:
    assert host_of(origin) == host
    assert Proxies([]).read(scope("203.0.113.5", origin=origin)).origin == host
    assert Proxies([]).read(scope("203.0.113.5")).origin is None
