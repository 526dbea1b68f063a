"""Listening."""

from __future__ import annotations

import socket

import pytest

from clarion.serving import ServiceError, listen, url_of


def test_the_parts_of_an_answer_do_not_wait_for_each_other() -> None:
    with (
        listen("127.0.0.1", 0, what="server", section="SERVER") as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_is_a_clear_error() -> None:
    with listen("127.0.0.1", 0, what="server", section="SERVER") as taken:
        port = taken.getsockname()[1]
        said = f"the server cannot listen on 127.0.0.1:{port}: Address already in use.*; is it running already"
        with pytest.raises(ServiceError, match=f"{said}.*CLARION_SERVER__PORT, or give --port"):
            listen("127.0.0.1", port, what="server", section="SERVER", also=", or give --port")


def test_an_address_of_the_sixth_version_is_put_in_brackets() -> None:
    with listen("::1", 0, what="server", section="SERVER") as listening:
        assert url_of(listening) == f"http://[::1]:{listening.getsockname()[1]}"
