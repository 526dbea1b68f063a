"""Sign-in with a wallet, sessions, API keys and quotas, as clients see them over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from support import toy
from support.bithedge_tables import insert
from support.graphql import Server, answering, toy_app, toy_store
from support.graphql import serving as serving_sockets
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.messages import sign_message
from clarion.chains.stacks.networks import Network
from clarion.config import Accounts as AccountSettings
from clarion.config import GraphQL, Quota, Scope
from clarion.follower import Follower
from clarion.protocols.bithedge import protocol as bithedge
from clarion.store.database import connect
from clarion.store.roles import ACCOUNT, READER, make_roles
from clarion.store.store import Store
from clarion_graphql.accounts.tokens import parse_token
from clarion_graphql.app import make_app

WALLET = PrivateKey(hashlib.sha256(b"wallet").digest() + b"\x01")
OTHER_WALLET = PrivateKey(hashlib.sha256(b"other").digest() + b"\x01")
HOST = "app.example.com"
PAGE = {"Origin": f"https://{HOST}"}

CREATE_MESSAGE = """
mutation ($address: String!, $host: String!) {
  createSignInMessage(address: $address, host: $host) { message expiresAt }
}
"""
SIGN_IN = """
mutation ($message: String!, $signature: Bytes!) {
  signIn(message: $message, signature: $signature) { token session { id address host current expiresAt } }
}
"""
ME = "{ me { address kind scopes } }"
CREATE_KEY = """
mutation ($name: String!, $scopes: [Scope!]!, $expiresAt: DateTime) {
  createApiKey(name: $name, scopes: $scopes, expiresAt: $expiresAt) { secret apiKey { id name scopes expiresAt } }
}
"""
REVOKE_KEY = "mutation ($id: ID!) { revokeApiKey(id: $id) { id revokedAt } }"


def address_of(wallet: PrivateKey, network: Network = Network.TESTNET) -> str:
    return str(wallet.address(network))


class Client:
    """A client of the server: a page, or a program that has a credential."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def post(
        self, document: str, variables: dict[str, Any] | None = None, token: str | None = None, **headers: str
    ) -> httpx.Response:
        authorization = {} if token is None else {"Authorization": f"Bearer {token}"}
        body = {"query": document, "variables": variables or {}}
        return await self.http.post("/graphql", json=body, headers=authorization | headers)

    async def data(
        self, document: str, variables: dict[str, Any] | None = None, token: str | None = None, **headers: str
    ) -> Any:
        response = await self.post(document, variables, token, **headers)
        answer = response.json()
        assert "errors" not in answer, answer
        (value,) = answer["data"].values()
        return value

    async def code(
        self, document: str, variables: dict[str, Any] | None = None, token: str | None = None, **headers: str
    ) -> str:
        """The code of the only error."""
        (error,) = (await self.post(document, variables, token, **headers)).json()["errors"]
        return str(error["extensions"]["code"])

    async def message(self, wallet: PrivateKey = WALLET, **headers: str) -> str:
        created = await self.data(CREATE_MESSAGE, {"address": address_of(wallet), "host": HOST}, **headers)
        return str(created["message"])

    async def sign_in(self, wallet: PrivateKey = WALLET) -> str:
        """The token of a new session."""
        message = await self.message(wallet)
        signed = await self.data(SIGN_IN, {"message": message, "signature": signature(message, wallet)})
        return str(signed["token"])

    async def key(self, session: str, *scopes: str, expires_at: datetime | None = None) -> tuple[str, str]:
        """Id and secret of a new key."""
        variables = {"name": "a program", "scopes": list(scopes), "expiresAt": expires_at and expires_at.isoformat()}
        created = await self.data(CREATE_KEY, variables, session)
        return created["apiKey"]["id"], created["secret"]


def secret_of(text: str) -> str:
    """The secret in a token: it may hold the very character that stands between the token's parts."""
    token = parse_token(text)
    assert token is not None
    return token.secret


def signature(message: str, wallet: PrivateKey = WALLET) -> str:
    return f"0x{sign_message(message, wallet).hex()}"


class Clock:
    """Gives the server the time."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def tick(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextlib.asynccontextmanager
async def serving(url: str, clock: Clock, **options: Any) -> AsyncIterator[Client]:
    with toy_store(url):
        app = toy_app(url, **{"accounts": AccountSettings(hosts=[HOST]), **options})
    app.state.service.accounts._clock = clock
    async with answering(app) as server:
        yield Client(server.client)


@pytest.fixture
async def client(database_url: str, clock: Clock) -> AsyncIterator[Client]:
    async with serving(database_url, clock) as client:
        yield client


class TestSignIn:
    async def test_a_wallet_signs_in_and_out(self, client: Client) -> None:
        assert await client.data(ME) is None
        created = await client.data(CREATE_MESSAGE, {"address": address_of(WALLET), "host": HOST}, **PAGE)
        message = created["message"]
        assert message.startswith(f"{HOST} wants you to sign in with your Stacks account:\n{address_of(WALLET)}\n")
        assert created["expiresAt"] == "2026-01-02T03:14:05+00:00"

        signed = await client.data(SIGN_IN, {"message": message, "signature": signature(message)}, **PAGE)
        token, session = signed["token"], signed["session"]
        assert session["expiresAt"] == "2026-01-03T03:04:05+00:00"
        assert (session["address"], session["host"], session["current"]) == (address_of(WALLET), HOST, False)
        assert await client.data(ME, token=token, **PAGE) == {
            "address": address_of(WALLET),
            "kind": "SESSION",
            "scopes": ["READ", "SUBSCRIBE", "PREPARE"],
        }
        sessions = await client.data("{ me { sessions { id current } } }", token=token)
        assert sessions == {"sessions": [{"id": session["id"], "current": True}]}

        revoked = await client.data("mutation { revokeSession { id revokedAt current } }", token=token)
        assert revoked == {"id": session["id"], "revokedAt": "2026-01-02T03:04:05+00:00", "current": True}
        response = await client.post(ME, token=token)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"

    async def test_a_message_signs_in_once(self, client: Client) -> None:
        message = await client.message()
        variables = {"message": message, "signature": signature(message)}
        await client.data(SIGN_IN, variables)
        (error,) = (await client.post(SIGN_IN, variables)).json()["errors"]
        assert error["message"] == "The message was signed in with before: ask for another one."
        assert error["extensions"]["code"] == "UNAUTHENTICATED"

    async def test_a_message_signs_in_once_also_where_sessions_are_shorter_than_messages(
        self, database_url: str, clock: Clock
    ) -> None:
        async with serving(database_url, clock, accounts=AccountSettings(hosts=[HOST], session_seconds=60)) as client:
            message = await client.message()
            variables = {"message": message, "signature": signature(message)}
            await client.data(SIGN_IN, variables)
            clock.tick(minutes=9)
            await client.sign_in(OTHER_WALLET)  # forgets sessions that expired
            assert "was signed in with before" in (await client.post(SIGN_IN, variables)).text

    async def test_a_message_expires(self, client: Client, clock: Clock) -> None:
        message = await client.message()
        clock.tick(minutes=10)
        answer = await client.post(SIGN_IN, {"message": message, "signature": signature(message)})
        assert "The message has expired" in answer.text

    async def test_only_the_address_itself_signs_in(self, client: Client) -> None:
        message = await client.message()
        assert await client.code(SIGN_IN, {"message": message, "signature": signature(message, OTHER_WALLET)}) == (
            "UNAUTHENTICATED"
        )
        for wrong in ("0x", "0x00", signature(message)[:-2], signature(message) + "00", signature("another text")):
            assert await client.code(SIGN_IN, {"message": message, "signature": wrong}) == "UNAUTHENTICATED"

    async def test_the_other_one_of_two_signatures_is_refused(self, client: Client) -> None:
        order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
        message = await client.message()
        signed = sign_message(message, WALLET)
        s = int.from_bytes(signed[32:64], "big")
        high = signed[:32] + (order - s).to_bytes(32, "big") + bytes((signed[64] ^ 1,))
        assert await client.code(SIGN_IN, {"message": message, "signature": f"0x{high.hex()}"}) == "UNAUTHENTICATED"

    async def test_a_message_of_ones_own_making_is_refused(self, client: Client) -> None:
        message = await client.message()
        for made in (message.replace(HOST, "evil.example.com"), message.replace("03:14:05Z", "23:14:05Z"), "hello"):
            assert await client.code(SIGN_IN, {"message": made, "signature": signature(made)}) == "BAD_USER_INPUT"

    async def test_pages_that_the_operator_did_not_name_sign_nobody_in(self, client: Client) -> None:
        named = {"address": address_of(WALLET), "host": "evil.example.com"}
        assert await client.code(CREATE_MESSAGE, named) == "FORBIDDEN"
        # a page that shows its users the name of another one
        named["host"] = HOST
        assert await client.code(CREATE_MESSAGE, named, Origin="https://evil.example.com") == "FORBIDDEN"
        message = await client.message()
        signed = {"message": message, "signature": signature(message)}
        assert await client.code(SIGN_IN, signed, Origin="https://evil.example.com") == "FORBIDDEN"
        assert await client.code(SIGN_IN, signed, Origin="null") == "FORBIDDEN"

    async def test_a_session_is_for_the_page_it_was_signed_in_on(self, client: Client) -> None:
        token = await client.sign_in()
        response = await client.post(ME, token=token, Origin="https://evil.example.com")
        assert response.status_code == 403
        assert f"signed in on {HOST}" in response.text
        assert (await client.post(ME, token=token, **PAGE)).status_code == 200

    @pytest.mark.parametrize(
        "address",
        [
            "nonsense",
            "",
            address_of(WALLET, Network.MAINNET),
            address_of(WALLET).lower(),
            "SN2QE43MMXFDMAT3TPRGQ38BQ50VSRMBRQ6B16W5J",
        ],
    )
    async def test_an_address_that_cannot_sign_is_refused(self, client: Client, address: str) -> None:
        assert await client.code(CREATE_MESSAGE, {"address": address, "host": HOST}) == "BAD_USER_INPUT"

    async def test_mainnets_accounts_sign_in_on_mainnet(self, database_url: str, clock: Clock) -> None:
        async with serving(database_url, clock, network=Network.MAINNET) as client:
            given = {"address": address_of(WALLET, Network.MAINNET), "host": HOST}
            message = (await client.data(CREATE_MESSAGE, given))["message"]
            assert "\nChain ID: 1\n" in message
            signed = await client.data(SIGN_IN, {"message": message, "signature": signature(message)})
            assert signed["session"]["address"].startswith("SP")

    async def test_a_session_ends(self, client: Client, clock: Clock) -> None:
        token = await client.sign_in()
        clock.tick(hours=24, seconds=-1)
        assert (await client.post(ME, token=token)).status_code == 200
        clock.tick(seconds=1)
        assert (await client.post(ME, token=token)).status_code == 401

    async def test_only_the_newest_sessions_are_good(
        self, client: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("clarion_graphql.accounts.store.MOST_SESSIONS", 2)
        tokens = []
        for _ in range(3):
            tokens.append(await client.sign_in())
            clock.tick(seconds=1)
            await client.post(ME, token=tokens[-1])
        other = await client.sign_in(OTHER_WALLET)
        statuses = [(await client.post(ME, token=token)).status_code for token in [*tokens, other]]
        assert statuses == [401, 200, 200, 200]

    async def test_nobody_revokes_what_is_not_theirs(self, client: Client) -> None:
        token, other = await client.sign_in(), await client.sign_in(OTHER_WALLET)
        listed = await client.data("{ me { sessions { id } } }", token=token)
        session = listed["sessions"][0]["id"]
        assert await client.code("mutation ($id: ID) { revokeSession(id: $id) { id } }", {"id": session}, other) == (
            "BAD_USER_INPUT"
        )
        assert (await client.post(ME, token=token)).status_code == 200

    async def test_a_server_that_shares_the_database_takes_the_message_and_the_token(
        self, client: Client, database_url: str, clock: Clock
    ) -> None:
        async with serving(database_url, clock) as other_server:
            message = await client.message()
            signed = await other_server.data(SIGN_IN, {"message": message, "signature": signature(message)})
            assert (await client.post(ME, token=signed["token"])).status_code == 200


class TestApiKeys:
    async def test_a_key_is_shown_once_and_does_what_its_scopes_say(self, client: Client, database_url: str) -> None:
        session = await client.sign_in()
        created = await client.data(CREATE_KEY, {"name": "a bot", "scopes": ["READ"]}, session)
        secret, key = created["secret"], created["apiKey"]
        assert key == {"id": key["id"], "name": "a bot", "scopes": ["READ"], "expiresAt": None}
        assert await client.data(ME, token=secret) == {
            "address": address_of(WALLET),
            "kind": "API_KEY",
            "scopes": ["READ"],
        }
        listed = (await client.data("{ me { apiKeys { id name lastUsedAt } } }", token=session))["apiKeys"]
        assert listed == [{"id": key["id"], "name": "a bot", "lastUsedAt": None}]
        with connect(database_url) as connection:
            (kept,) = connection.execute("SELECT k::text FROM clarion_account.api_key k").fetchall()
        assert secret_of(secret) not in str(kept)

    async def test_a_key_without_the_scope_cannot(self, client: Client) -> None:
        _, secret = await client.key(await client.sign_in(), "SUBSCRIBE")
        assert await client.code("{ status { version } }", token=secret) == "FORBIDDEN"

    async def test_a_key_manages_no_keys_and_no_sessions(self, client: Client) -> None:
        identifier, secret = await client.key(await client.sign_in(), "READ", "SUBSCRIBE", "PREPARE")
        assert await client.code(CREATE_KEY, {"name": "b", "scopes": ["READ"]}, secret) == "FORBIDDEN"
        assert await client.code(REVOKE_KEY, {"id": identifier}, secret) == "FORBIDDEN"
        assert await client.code("{ me { apiKeys { id } } }", token=secret) == "FORBIDDEN"
        assert await client.code(CREATE_KEY, {"name": "b", "scopes": ["READ"]}) == "UNAUTHENTICATED"

    async def test_a_revoked_key_is_not_good(self, client: Client) -> None:
        session, other = await client.sign_in(), await client.sign_in(OTHER_WALLET)
        identifier, secret = await client.key(session, "READ")
        assert await client.code(REVOKE_KEY, {"id": identifier}, other) == "BAD_USER_INPUT"
        assert (await client.post(ME, token=secret)).status_code == 200
        assert (await client.data(REVOKE_KEY, {"id": identifier}, session))["revokedAt"] is not None
        assert (await client.post(ME, token=secret)).status_code == 401

    async def test_other_servers_hear_of_a_revocation_within_seconds(
        self, client: Client, database_url: str, clock: Clock
    ) -> None:
        session = await client.sign_in()
        identifier, secret = await client.key(session, "READ")
        async with serving(database_url, clock) as other_server:
            assert (await other_server.post(ME, token=secret)).status_code == 200
            await client.data(REVOKE_KEY, {"id": identifier}, session)
            clock.tick(seconds=5)
            assert (await other_server.post(ME, token=secret)).status_code == 401

    async def test_a_key_expires(self, client: Client, clock: Clock) -> None:
        session = await client.sign_in()
        _, secret = await client.key(session, "READ", expires_at=clock.now + timedelta(hours=1))
        clock.tick(hours=1, seconds=-1)
        assert (await client.post(ME, token=secret)).status_code == 200
        clock.tick(seconds=1)
        assert (await client.post(ME, token=secret)).status_code == 401

    @pytest.mark.parametrize(
        "given",
        [
            {"name": ""},
            {"name": "x" * 101},
            {"name": "a\nb"},
            {"scopes": []},
            {"expiresAt": "2026-01-02T03:04:05+00:00"},
            {"expiresAt": "2030-01-02T03:04:05"},
        ],
    )
    async def test_a_key_that_makes_no_sense_is_not_made(self, client: Client, given: dict[str, Any]) -> None:
        session = await client.sign_in()
        variables = {"name": "a", "scopes": ["READ"], **given}
        assert await client.code(CREATE_KEY, variables, session) == "BAD_USER_INPUT"
        assert (await client.data("{ me { apiKeys { id } } }", token=session)) == {"apiKeys": []}

    async def test_an_address_has_only_so_many_keys(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("clarion_graphql.accounts.store.MOST_API_KEYS", 2)
        session = await client.sign_in()
        identifier, _ = await client.key(session, "READ")
        await client.key(session, "READ")
        assert await client.code(CREATE_KEY, {"name": "c", "scopes": ["READ"]}, session) == "LIMIT_EXCEEDED"
        await client.data(REVOKE_KEY, {"id": identifier}, session)
        await client.key(session, "READ")

    async def test_its_last_use_is_written_down(self, database_url: str, clock: Clock) -> None:
        async with serving(database_url, clock) as client:
            session = await client.sign_in()
            _, secret = await client.key(session, "READ")
            clock.tick(minutes=1)
            await client.post(ME, token=secret)
        with connect(database_url) as connection:
            used = connection.execute("SELECT last_used_at FROM clarion_account.api_key").fetchall()
        assert used == [(clock.now,)]


class TestStrangers:
    @pytest.mark.parametrize(
        "authorization",
        ["", "Bearer", "Bearer x", "Basic YTpi", f"Bearer clarion_key_{'0' * 18}_{'a' * 43}", "Bearer \xe9"],
    )
    async def test_an_unknown_credential_is_refused_whatever_it_asks(self, client: Client, authorization: str) -> None:
        body = {"query": "{ __typename }"}
        headers = {"Authorization": authorization.encode("latin-1")}
        response = await client.http.post("/graphql", json=body, headers=headers)
        assert response.status_code == 401
        assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"

    async def test_a_wrong_secret_for_a_known_id_is_refused(self, client: Client) -> None:
        _, secret = await client.key(await client.sign_in(), "READ")
        assert (await client.post(ME, token=secret)).status_code == 200
        wrong = secret[:-1] + ("a" if secret[-1] != "a" else "b")
        assert (await client.post(ME, token=wrong)).status_code == 401

    async def test_what_everybody_may_do_is_the_operators_to_say(self, database_url: str, clock: Clock) -> None:
        settings = AccountSettings(hosts=[HOST], anonymous=[Scope.SUBSCRIBE])
        async with serving(database_url, clock, accounts=settings) as client:
            assert await client.code("{ status { version } }") == "UNAUTHENTICATED"
            _, secret = await client.key(await client.sign_in(), "READ")
            assert "version" in await client.data("{ status { version } }", token=secret)
            # and what was remembered for one who may is not told to one who may not
            assert await client.code("{ status { version } }") == "UNAUTHENTICATED"

    async def test_who_one_is_is_told_to_nobody_else(self, client: Client) -> None:
        token, other = await client.sign_in(), await client.sign_in(OTHER_WALLET)
        for _ in range(2):
            assert (await client.data(ME, token=token))["address"] == address_of(WALLET)
            assert (await client.data(ME, token=other))["address"] == address_of(OTHER_WALLET)
            assert await client.data(ME) is None

    async def test_every_answer_has_its_requests_id_and_so_has_the_log(self, client: Client) -> None:
        first, second = await client.post(ME), await client.post(ME, **{"X-Request-Id": "mine"})
        assert len({first.headers["x-request-id"], second.headers["x-request-id"], "mine"}) == 3
        message = await client.message()
        with capture_logs(processors=[merge_contextvars]) as lines:
            signed = await client.post(SIGN_IN, {"message": message, "signature": signature(message)})
        assert [line["request_id"] for line in lines] == [signed.headers["x-request-id"]]

    async def test_secrets_are_in_no_log(self, client: Client) -> None:
        with capture_logs() as lines:
            session = await client.sign_in()
            identifier, secret = await client.key(session, "READ")
            await client.post(ME, token=secret)
            await client.post(ME, token=secret[:-1] + "!")
            await client.data(REVOKE_KEY, {"id": identifier}, session)
        assert [line["event"] for line in lines] == [
            "accounts.signed_in",
            "accounts.key_created",
            "accounts.key_revoked",
        ]
        for token in (session, secret):
            assert secret_of(token) not in str(lines)


async def test_what_bithedge_adds(database_url: str, clock: Clock) -> None:
    """Roles that its registry gives, until they have run out, and mutations, for whom the scope allows them."""
    with connect(database_url, autocommit=True) as connection:
        store = Store(connection, "stacks", [])
        store.open()
        with store.batch() as batch:
            Follower().ingest(batch, [toy.block(None, burn=toy.burn_block(100))])
        for role, until_burn in (("guardian", None), ("oracle", 100), ("keeper", 99)):
            insert(connection, "role", role=role, who=address_of(WALLET), until_burn=until_burn)
        insert(connection, "role", role="governance", who=address_of(OTHER_WALLET), until_burn=None)
    app = make_app(database_url, protocols=[bithedge], deployed={}, accounts=AccountSettings(hosts=[HOST]))
    app.state.service.accounts._clock = clock
    prepare = """mutation { prepareDeposit(
      input: { token: "none", tier: "none", amount: 1, sender: "none" }
    ) { __typename } }"""
    async with answering(app) as server:
        client = Client(server.client)
        session = await client.sign_in()
        found = await client.data("{ me { roles { protocol role untilBurn } } }", token=session)
        _, reader = await client.key(session, "READ")
        _, preparer = await client.key(session, "PREPARE")
        codes = [await client.code(prepare, token=key) for key in (reader, preparer)]
    assert found["roles"] == [
        {"protocol": "bithedge", "role": "guardian", "untilBurn": None},
        {"protocol": "bithedge", "role": "oracle", "untilBurn": 100},
    ]
    assert codes == ["FORBIDDEN", "BAD_USER_INPUT"]


ASK = "{ __typename }"
#: A request costs 1, and each field 1.
ASKING = 2


class TestQuotas:
    async def test_a_stranger_is_told_when_to_come_back(self, database_url: str, clock: Clock) -> None:
        async with serving(database_url, clock, quota=Quota(anonymous=f"{4 * ASKING}/hour")) as client:
            statuses = [(await client.post(ASK)).status_code for _ in range(6)]
            refused = await client.post(ASK)
        assert statuses == [200] * 4 + [429] * 2
        assert refused.json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
        assert int(refused.headers["retry-after"]) == refused.json()["errors"][0]["extensions"]["retryAfter"] > 0

    async def test_what_reads_more_costs_more(self, database_url: str, clock: Clock) -> None:
        quota = Quota(anonymous="300/hour")
        async with serving(database_url, clock, quota=quota) as client:
            ask = "query ($first: Int) { toyAccounts(first: $first) { nodes { owner balance } } }"
            assert (await client.post(ask, {"first": 20})).status_code == 200
            refused = await client.post(ask, {"first": 500})
        assert refused.status_code == 429
        assert "more than the quota of 300 per 1 hour ever has: ask for fewer rows" in refused.text

    async def test_a_known_key_has_its_own_and_an_unknown_one_none(
        self, client: Client, database_url: str, clock: Clock
    ) -> None:
        session = await client.sign_in()
        first, second = [(await client.key(session, "READ"))[1] for _ in range(2)]
        quota = Quota(anonymous="2/hour", api_key=f"{3 * ASKING}/hour")
        async with serving(database_url, clock, quota=quota) as limited:
            assert [(await limited.post(ASK, token=first)).status_code for _ in range(4)] == [200, 200, 200, 429]
            assert (await limited.post(ASK, token=second)).status_code == 200
            unknown = f"clarion_key_{'0' * 18}_{'a' * 43}"
            assert [(await limited.post(ASK, token=unknown)).status_code for _ in range(3)] == [401, 401, 429]
            assert (await limited.post(ASK)).status_code == 429
            assert (await limited.post(ASK, token=second)).status_code == 200

    async def test_clients_behind_a_proxy_are_told_apart_only_where_the_proxy_is_known(
        self, database_url: str, clock: Clock
    ) -> None:
        async def ask(client: Client, *clients: str) -> list[int]:
            return [(await client.post(ASK, **{"X-Forwarded-For": name})).status_code for name in clients]

        quota = Quota(anonymous=f"{ASKING}/hour")
        async with serving(database_url, clock, quota=quota) as client:
            assert await ask(client, "198.51.100.1", "198.51.100.2") == [200, 429]
        async with serving(database_url, clock, quota=quota, graphql=GraphQL(proxies=["127.0.0.1"])) as client:
            assert await ask(client, "198.51.100.1", "198.51.100.2", "198.51.100.1") == [200, 200, 429]
            assert await ask(client, "1.1.1.1, 198.51.100.1") == [429]
            assert await ask(client, "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1") == [200, 429, 200]


async def test_a_statement_is_charged_before_it_is_looked_for(database_url: str) -> None:
    with connect(database_url, autocommit=True) as connection:
        Store(connection, "stacks", []).open()
    app = make_app(database_url, protocols=[bithedge], deployed={}, quota=Quota(anonymous="2/hour"))
    async with answering(app) as server:
        answers = [await server.client.get("/statements/nobody.csv") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [400, 400, 429]
    assert int(answers[2].headers["retry-after"]) > 0
    for answer in answers:
        (error,) = answer.json()["errors"]
        assert error["extensions"]["requestId"] == answer.headers["x-request-id"]


async def test_every_answer_has_an_id(database_url: str) -> None:
    app = make_app(database_url, protocols=[bithedge], deployed={}, graphql=GraphQL(proxies=["127.0.0.1"]))
    asked = [
        ("GET", "/", 200),
        ("GET", "/healthz", 200),
        ("GET", "/schema.graphql", 200),
        ("GET", "/nothing", 404),
        ("PUT", "/statements/nobody.csv", 405),
        ("DELETE", "/statements/nobody.csv", 405),
        ("OPTIONS", "/statements/nobody.csv", 405),
        ("PUT", "/graphql", 405),
        ("PUT", "/graphql/stream", 405),
    ]
    async with answering(app) as server:
        for method, path, status in asked:
            answer = await server.client.request(method, path)
            assert (answer.status_code, bool(answer.headers["x-request-id"])) == (status, True)
            answer = await server.client.request(method, path, headers={"X-Request-Id": "the-proxy-s"})
            assert answer.headers.get_list("x-request-id") == ["the-proxy-s"]


CLOCK = "subscription { blocks { op } }"
MANY = "toyAccounts(first: 500) { nodes { owner balance } }"


class Socket:
    """A WebSocket of a client."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, **message: Any) -> None:
        await self._socket.send(msgspec.json.encode(message).decode())

    async def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = msgspec.json.decode(await asyncio.wait_for(self._socket.recv(), 20))
        return message

    async def closed(self) -> int | None:
        """The code that the server closes it with."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self.receive()
        return self._socket.close_code

    @property
    def reason(self) -> str:
        """Why the server has closed it."""
        return self._socket.close_reason or ""


class TestConnections:
    """WebSockets and event streams, on a real socket."""

    @pytest.fixture
    async def server(self, database_url: str, clock: Clock) -> AsyncIterator[Server]:
        with toy_store(database_url):
            settings = AccountSettings(hosts=[HOST], anonymous=[Scope.READ])
            app = toy_app(database_url, accounts=settings, quota=Quota(connections=2))
        app.state.service.accounts._clock = clock
        async with serving_sockets(app) as server:
            yield server

    @contextlib.asynccontextmanager
    async def connect(
        self,
        server: Server,
        token: str | None = None,
        *,
        in_header: bool = False,
        payload: dict[str, Any] | None = None,
    ) -> AsyncIterator[Socket]:
        """``payload``: of `connection_init`, in place of one with the token."""
        credential = {} if token is None else {"authorization": f"Bearer {token}"}
        async with connect_websocket(
            server.url,
            subprotocols=[Subprotocol("graphql-transport-ws")],
            additional_headers=credential if in_header else {},
        ) as connected:
            socket = Socket(connected)
            said = ({} if in_header else credential) if payload is None else payload
            await socket.send(type="connection_init", payload=said)
            yield socket

    @pytest.mark.parametrize("in_header", [False, True])
    async def test_a_key_with_the_scope_subscribes_and_a_stranger_does_not(
        self, server: Server, in_header: bool
    ) -> None:
        client = Client(server.client)
        _, secret = await client.key(await client.sign_in(), "SUBSCRIBE")
        async with self.connect(server, secret, in_header=in_header) as known, self.connect(server) as stranger:
            for socket in (known, stranger):
                assert (await socket.receive())["type"] == "connection_ack"
                await socket.send(id="1", type="subscribe", payload={"query": CLOCK})
            assert (await known.receive())["payload"]["data"]["blocks"] == {"op": "START"}
            refused = await stranger.receive()
            assert (refused["type"], refused["payload"][0]["extensions"]["code"]) == ("error", "UNAUTHENTICATED")

    async def test_an_unknown_credential_does_not_connect(self, server: Server) -> None:
        async with self.connect(server, "clarion_key_x") as socket:
            assert await socket.closed() == 4401
            assert socket.reason.endswith("send a good one as `Authorization: Bearer …`, or none.")

    @pytest.mark.parametrize("name", ["authorization", "Authorization"])
    @pytest.mark.parametrize("given", [5, False, 0, [], {}, ["Bearer x"]])
    async def test_a_credential_that_is_no_text_does_not_connect(self, server: Server, name: str, given: Any) -> None:
        async with self.connect(server, payload={name: given}) as socket:
            assert await socket.closed() == 4401
            assert "`authorization` is text" in socket.reason

    async def test_a_credential_that_is_null_is_none(self, server: Server) -> None:
        async with self.connect(server, payload={"authorization": None}) as socket:
            assert (await socket.receive())["type"] == "connection_ack"

    async def test_a_caller_has_only_so_many_connections(self, server: Server) -> None:
        async with self.connect(server) as first, self.connect(server) as second:
            for socket in (first, second):
                assert (await socket.receive())["type"] == "connection_ack"
            async with self.connect(server) as third:
                assert await third.closed() == 4429
        async with self.connect(server) as later:
            assert (await later.receive())["type"] == "connection_ack"

    async def test_a_connection_ends_with_its_credential(self, server: Server, clock: Clock) -> None:
        client = Client(server.client)
        session = await client.sign_in()
        identifier, secret = await client.key(session, "SUBSCRIBE")
        _, other = await client.key(session, "SUBSCRIBE", expires_at=clock.now + timedelta(hours=1))
        async with self.connect(server, secret) as revoked, self.connect(server, other) as expired:
            for socket in (revoked, expired):
                assert (await socket.receive())["type"] == "connection_ack"
            await client.data(REVOKE_KEY, {"id": identifier}, session)
            assert await revoked.closed() == 4401
            clock.tick(hours=1)
            await server.app.state.service.accounts.end_connections()
            assert await expired.closed() == 4401

    async def codes(self, server: Server, *documents: str) -> list[list[str | None]]:
        """The code that each document is answered with, None for an answer: over WebSocket, and as event streams."""
        over_socket: list[str | None] = []
        async with self.connect(server) as socket:
            assert (await socket.receive())["type"] == "connection_ack"
            for number, document in enumerate(documents):
                await socket.send(id=str(number), type="subscribe", payload={"query": document})
                while (message := await socket.receive())["id"] != str(number) or message["type"] == "complete":
                    pass
                over_socket.append(_code(message["payload"] if message["type"] == "error" else ()))
        streamed: list[str | None] = []
        for document in documents:
            async with server.client.stream("POST", "/graphql/stream", json={"query": document}) as response:
                if response.status_code != 200:
                    await response.aread()
                    streamed.append(_code(response.json()["errors"]))
                    continue
                lines = response.aiter_lines()
                while not (line := await anext(lines)).startswith("data: "):
                    pass
                streamed.append(_code(msgspec.json.decode(line.removeprefix("data: ")).get("errors", ())))
        return [over_socket, streamed]

    def limited(self, url: str, anonymous: str, **options: Any) -> contextlib.AbstractAsyncContextManager[Server]:
        """A server that callers without a credential have a quota of."""
        with toy_store(url):
            return serving_sockets(toy_app(url, quota=Quota(anonymous=anonymous), **options))

    async def test_a_live_query_costs_what_its_query_does(self, database_url: str) -> None:
        live = f"subscription {{ live {{ {MANY} }} }}"
        async with self.limited(database_url, "1000/hour") as server:
            assert (await server.client.post("/graphql", json={"query": f"{{ {MANY} }}"})).status_code == 429
            assert await self.codes(server, live) == [["RATE_LIMITED"], ["RATE_LIMITED"]]
        # 1,003 fields and the request, then again the same subscription, which the server knows by then
        async with self.limited(database_url, "3013/hour") as server:
            assert await self.codes(server, live, live) == [[None, None], [None, "RATE_LIMITED"]]

    async def test_a_subscription_costs_what_a_message_of_it_can_hold(self, database_url: str) -> None:
        blocks = "subscription { blocks { op block { transactions(first: 500) { nodes { txId txIndex } } } } }"
        async with self.limited(database_url, "1000000/hour", graphql=GraphQL(max_cost=100)) as server:
            assert await self.codes(server, blocks, CLOCK) == [["LIMIT_EXCEEDED", None]] * 2
        async with self.limited(database_url, "1000/hour") as server:
            assert await self.codes(server, blocks, CLOCK) == [["RATE_LIMITED", None]] * 2

    @pytest.mark.parametrize("document", ["{", "{ nothing }", "subscription { nothing }"])
    async def test_what_is_refused_costs_one(self, database_url: str, document: str) -> None:
        wrong = "GRAPHQL_PARSE_FAILED" if document == "{" else "GRAPHQL_VALIDATION_FAILED"
        async with self.limited(database_url, "3/hour") as server:
            assert await self.codes(server, *[document] * 4) == [[wrong] * 3 + ["RATE_LIMITED"], ["RATE_LIMITED"] * 4]
        async with self.limited(database_url, "5/hour") as server:
            assert await self.codes(server, *[document] * 3) == [[wrong] * 3, [wrong] * 2 + ["RATE_LIMITED"]]

    async def test_an_event_stream_ends_with_its_credential(self, server: Server) -> None:
        client = Client(server.client)
        session = await client.sign_in()
        identifier, secret = await client.key(session, "SUBSCRIBE")
        headers = {"Authorization": f"Bearer {secret}", "Accept": "text/event-stream"}
        async with server.client.stream("POST", "/graphql/stream", json={"query": CLOCK}, headers=headers) as stream:
            assert stream.status_code == 200
            chunks = stream.aiter_text()
            said = ""
            while "START" not in said:
                said += await anext(chunks)
            await client.data(REVOKE_KEY, {"id": identifier}, session)
            async with asyncio.timeout(20):
                async for _ in chunks:
                    pass
        refused = await server.client.post("/graphql/stream", json={"query": CLOCK}, headers=headers)
        assert refused.status_code == 401


def _code(errors: Sequence[dict[str, Any]]) -> str | None:
    return str(errors[0]["extensions"]["code"]) if errors else None


class TestDatabase:
    async def test_each_part_works_as_a_role_that_may_do_no_more(self, database_url: str, clock: Clock) -> None:
        make_roles(database_url)
        options = {
            "graphql": GraphQL(reader_role=READER),
            "accounts": AccountSettings(hosts=[HOST], role=ACCOUNT),
        }
        async with serving(database_url, clock, **options) as client:
            _, secret = await client.key(await client.sign_in(), "READ")
            assert (await client.data("{ toyAccounts { totalCount } }", token=secret)) == {"totalCount": 0}
            with connect(database_url, autocommit=True) as connection:
                roles = connection.execute(
                    "SELECT DISTINCT application_name, usename FROM pg_stat_activity WHERE datname = current_database()"
                ).fetchall()
            assert ("clarion graphql", "postgres") in roles  # the login; what it may do is the role's

    async def test_without_it_credentials_wait_and_strangers_are_answered(
        self, database_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("clarion_graphql.accounts.store.CONNECTION_TIMEOUT_S", 0.3)
        options = {"accounts": AccountSettings(hosts=[HOST], database_url="postgresql://nobody@127.0.0.1:1/none")}
        async with serving(database_url, clock, **options) as client:
            assert (await client.post("{ __typename }")).status_code == 200
            known_form = f"clarion_key_{'0' * 18}_{'a' * 43}"
            response = await client.post("{ __typename }", token=known_form)
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            assert await client.code(CREATE_MESSAGE, {"address": address_of(WALLET), "host": HOST}) == "UNAVAILABLE"
