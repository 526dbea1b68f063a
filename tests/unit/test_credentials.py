"""Users and passwords in the addresses of servers sign in, and are never shown."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable

import httpx
import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st

from clarion.chains.bitcoin.esplora import Esplora
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.rpc import BitcoinRpc
from clarion.chains.stacks.node_client import NodeClient
from clarion.config import Bitcoin, Hiro, Keeper, KeeperBitcoin, Settings
from clarion.credentials import split_credentials
from clarion.hiro_feed import hiro_client
from clarion_keeper.charms.opening import open_nodes
from clarion_keeper.graph import Reader
from hiro_api_client import HiroApiClient

USER, PASSWORD = "reader", "p:s/w@rd"
SIGNED_IN = "http://reader:p%3As%2Fw%40rd@10.0.0.5:20443"
SHOWN = "http://10.0.0.5:20443"
HEADER = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"

Ask = Callable[[httpx.AsyncBaseTransport], Awaitable[object]]


def test_an_address_is_split() -> None:
    assert split_credentials(SIGNED_IN) == (SHOWN, (USER, PASSWORD))
    assert split_credentials(f"{SIGNED_IN}/a?b=c@d") == (f"{SHOWN}/a?b=c@d", (USER, PASSWORD))
    assert split_credentials("https://token@[::1]:8080/x") == ("https://[::1]:8080/x", ("token", ""))


@pytest.mark.parametrize("url", [SHOWN, f"{SHOWN}/@me", "https://host", "http://[::1]/x?y=a@b#@"])
def test_an_address_without_a_password_stays(url: str) -> None:
    assert split_credentials(url) == (url, None)


@given(user=st.text(min_size=1), password=st.text(min_size=1))
def test_any_user_and_password_can_be_written(user: str, password: str) -> None:
    url = httpx.URL("http://10.0.0.5:20443/a", username=user, password=password)
    assert split_credentials(str(url)) == ("http://10.0.0.5:20443/a", (user, password))


async def _node(transport: httpx.AsyncBaseTransport) -> object:
    async with NodeClient(SIGNED_IN, attempts=1, transport=transport) as node:
        return await node.info()


async def _bitcoin(transport: httpx.AsyncBaseTransport) -> object:
    async with BitcoinRpc(
        SIGNED_IN, network=BitcoinNetwork.REGTEST, user="other", password="other", attempts=1, transport=transport
    ) as node:
        return await node.call("getblockcount")


async def _esplora(transport: httpx.AsyncBaseTransport) -> object:
    async with Esplora(SIGNED_IN, network=BitcoinNetwork.REGTEST, attempts=1, transport=transport) as api:
        return await api.tip()


async def _graphql(transport: httpx.AsyncBaseTransport) -> object:
    async with Reader(f"{SIGNED_IN}/graphql", transport=transport) as reader:
        return await reader.tip()


async def _hiro(transport: httpx.AsyncBaseTransport) -> object:
    url, auth = split_credentials(SIGNED_IN)
    async with HiroApiClient(url, auth=auth, attempts=1, transport=transport) as api:
        return await api.status()


@pytest.mark.parametrize("ask", [_node, _bitcoin, _esplora, _graphql, _hiro])
@pytest.mark.parametrize("status", [None, 401, 400, 404, 500, 503, 200])
async def test_clients_sign_in_and_say_nothing_of_it(ask: Ask, status: int | None) -> None:
    asked: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if status is None:
            raise httpx.ConnectError("All connection attempts failed")
        return httpx.Response(status, text="nothing of this form")

    with stamina.set_testing(True, attempts=1), pytest.raises(Exception, match=r".+") as caught:
        await ask(httpx.MockTransport(answer))
    assert {request.headers["authorization"] for request in asked} == {HEADER}
    assert all(request.url.userinfo == b"" for request in asked)
    problem: BaseException | None = caught.value
    while problem is not None:
        for told in (str(problem), repr(problem)):
            assert PASSWORD not in told
            assert "p%3As" not in told
        problem = problem.__cause__ or problem.__context__


def test_the_settings_client_of_the_api_shows_no_password() -> None:
    assert hiro_client(Settings(hiro=Hiro(url=SIGNED_IN))).url == SHOWN


async def test_further_nodes_are_named_without_their_passwords() -> None:
    settings = Settings(
        bitcoin=Bitcoin(rpc_url="http://me:secret@10.0.0.4:8332"),
        keeper=Keeper(bitcoin=KeeperBitcoin(node_urls=[SIGNED_IN])),
    )
    async with open_nodes(settings) as nodes:
        assert [node.name for node in nodes._clients] == ["bitcoin", "10.0.0.5:20443"]


def test_a_password_that_is_not_written_for_an_address_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="write %2F for /") as caught:
        Settings(hiro=Hiro(url="http://me:hunter/2@10.0.0.5"))
    (problem,) = caught.value.errors()  # type: ignore[attr-defined]
    assert "hunter" not in problem["msg"]
