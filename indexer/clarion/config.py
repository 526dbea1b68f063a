"""Clarion's settings, and the one place that reads the environment and `clarion.toml`.

A setting comes from the first of these that has it: the caller (command line options), the environment, the TOML file,
the default. `python -m clarion.config` prints the reference that is `docs/configuration.md`.
"""

import ipaddress
import json
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.stacks.networks import Network

ENV_PREFIX: Final = "CLARION_"
SECTION_SEPARATOR: Final = "__"
CONFIG_FILE_VARIABLE: Final = "CLARION_CONFIG"
DEFAULT_CONFIG_FILE: Final = Path("clarion.toml")


class ConfigurationError(Exception):
    """The settings are not usable; the message names each one that is wrong and where it comes from."""


class NetworkName(StrEnum):
    """A Stacks network. Devnet and mocknet are private ones that share testnet's constants."""

    DEVNET = "devnet"
    MOCKNET = "mocknet"
    TESTNET = "testnet"
    MAINNET = "mainnet"

    @property
    def constants(self) -> Network:
        """Chain id, transaction version and address versions."""
        return Network.MAINNET if self is NetworkName.MAINNET else Network.TESTNET


PUBLIC_NETWORKS: Final = (NetworkName.MAINNET, NetworkName.TESTNET)


class SourceName(StrEnum):
    """Where blocks come from."""

    OBSERVER = "observer"
    HIRO = "hiro"


class BitcoinSourceName(StrEnum):
    """Where Bitcoin's blocks come from."""

    RPC = "rpc"
    ESPLORA = "esplora"


class Scope(StrEnum):
    """What a caller of the GraphQL server may do."""

    READ = "read"
    SUBSCRIBE = "subscribe"
    PREPARE = "prepare"
    KEEPER = "keeper"


class Lane(StrEnum):
    """A class of urgency of what the keeper sends. The order of definition is the order of urgency."""

    RESCUE = "rescue"
    SETTLE = "settle"
    UPKEEP = "upkeep"
    ORACLE = "oracle"
    INCENTIVES = "incentives"

    @property
    def rank(self) -> int:
        """0 for the most urgent."""
        return list(Lane).index(self)


class FeePolicyName(StrEnum):
    """How the keeper finds the fee of a transaction."""

    FIXED = "fixed"
    ESTIMATE = "estimate"
    ESCALATING = "escalating"


class BreakerPreset(StrEnum):
    """How soon the keeper leaves a server alone that keeps failing, and for how long."""

    DEFAULT = "default"
    STRICT = "strict"
    RELAXED = "relaxed"


class ProxyHeader(StrEnum):
    """The header that a proxy says a client's address in."""

    X_FORWARDED_FOR = "X-Forwarded-For"
    FORWARDED = "Forwarded"


class LogLevel(StrEnum):
    """The least serious messages that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How messages are written: for people, or one JSON object a line."""

    CONSOLE = "console"
    JSON = "json"


def _http_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    try:
        _ = urlsplit(value).port
    except ValueError:
        raise ValueError(
            "has a port that is no number; in a user's name or password write %2F for /, %3F for ?, %23 for #"
        ) from None
    return value.rstrip("/")


def _postgres_url(value: SecretStr) -> SecretStr:
    scheme, separator, rest = value.get_secret_value().partition("://")
    if not separator or scheme not in ("postgres", "postgresql"):
        raise ValueError("must be a URL that starts with postgresql://")
    return SecretStr(f"postgresql://{rest}")


def _signer_url(value: str) -> str:
    kind, separator, rest = value.partition(":")
    if not separator or not rest or kind not in ("file", "env", "keyring", "process", "unix"):
        raise ValueError(
            "must be file:/PATH, env:NAME, keyring:SERVICE/USER, process:COMMAND or unix:/PATH: where the key is, or "
            "who signs; never a key itself"
        )
    return value


def _split_at_commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _rate(value: object) -> object:
    """`600/minute` as limits' own notation has it, or several of them joined by `;`."""
    if isinstance(value, str):
        import limits  # takes a quarter of a second, and few commands need it

        try:
            limits.parse_many(value)
        except ValueError as error:
            raise ValueError(
                f"{value!r} is no rate such as `100000/minute`, or several joined by `;`: `50/second;1000/minute`"
            ) from error
    return value


def _network_range(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(f"{value!r} is no address or network such as `10.0.0.0/8` ({error})") from error


def _blocks_kept(value: object) -> object:
    """`all` as None, `1000 blocks` as 1000."""
    if not isinstance(value, str):
        return value
    if value == "all":
        return None
    number, _, unit = value.partition(" ")
    if not (number.isascii() and number.isdigit()) or unit not in ("block", "blocks"):
        raise ValueError(f"{value!r} is neither `all` nor a number of blocks such as `1000 blocks`")
    return int(number)


def _setting(default: Any, description: str, *, unit: str | None = None, **constraints: Any) -> Any:
    """A field whose description, default and unit the reference shows."""
    copied = (
        {"default_factory": lambda: type(default)(default)}
        if isinstance(default, list | dict)
        else {"default": default}
    )
    return Field(description=description, json_schema_extra={"unit": unit}, **copied, **constraints)


HttpUrl = Annotated[str, AfterValidator(_http_url)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres_url)]
Names = Annotated[list[str], NoDecode, BeforeValidator(_split_at_commas)]
HttpUrls = Annotated[list[HttpUrl], NoDecode, BeforeValidator(_split_at_commas)]
Port = Annotated[int, Field(ge=0, le=65535)]
BlocksKept = Annotated[int | None, BeforeValidator(_blocks_kept)]
Rate = Annotated[str, BeforeValidator(_rate)]
IpNetworks = Annotated[
    list[Annotated[str, AfterValidator(_network_range)]], NoDecode, BeforeValidator(_split_at_commas)
]
Scopes = Annotated[list[Scope], NoDecode, BeforeValidator(_split_at_commas)]
RoleName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")]


SignerUrl = Annotated[str, AfterValidator(_signer_url)]
Lanes = Annotated[list[Lane], NoDecode, BeforeValidator(_split_at_commas)]


_MAX_AMOUNT: Final = 2**62


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Observer(_Section):
    """Where a Stacks node sends its events (`[[events_observer]]` in the node's configuration)."""

    host: str = _setting("127.0.0.1", "Address the event observer listens on.")
    port: Port = _setting(3700, "Port the event observer listens on; 0 takes a free one.")
    max_body_bytes: int = _setting(
        500 << 20, "Largest post that is kept. The genesis block of mainnet is about 80 MB.", unit="bytes", ge=1
    )
    max_memory_bytes: int = _setting(
        1 << 30, "What posts that are being received and stored may take at once; more wait.", unit="bytes", ge=1
    )
    connections: int = _setting(4, "Database connections that posts are stored over.", ge=1)


class Node(_Section):
    """The Stacks node that is asked for what its events do not carry, and given transactions."""

    url: HttpUrl = _setting("http://127.0.0.1:20443", "RPC address of the node.")
    auth_token: SecretStr | None = _setting(
        None, "The node's `auth_token`, which its block proposal and replay endpoints ask for."
    )


class Hiro(_Section):
    """The Stacks Blockchain API that blocks are asked of, where `sources` has `hiro`."""

    url: HttpUrl | None = _setting(None, "Address of the API. Not set: Hiro's own for mainnet and testnet.")
    api_key: SecretStr | None = _setting(None, "Key of Hiro's own API, which then answers more requests a minute.")
    raw_transactions: bool = _setting(
        False, "Ask for the bytes of every transaction too, one request each. Nothing but their own column needs them."
    )
    poll_seconds: float = _setting(
        10.0, "How often the API is asked at the tip, where it does not call by itself.", unit="seconds", gt=0
    )


class Bitcoin(_Section):
    """Bitcoin and the charms in its transactions, which are indexed where `bitcoin.sources` names a source."""

    sources: Annotated[list[BitcoinSourceName], NoDecode, BeforeValidator(_split_at_commas)] = _setting(
        [],
        "Where blocks come from: `rpc` (a Bitcoin Core node), `esplora` (an Esplora-compatible REST API) or both; "
        "separated by commas in the environment. Empty: Bitcoin is not indexed.",
    )
    network: BitcoinNetwork = _setting(BitcoinNetwork.REGTEST, "Bitcoin network: mainnet, testnet4, signet or regtest.")
    rpc_url: HttpUrl | None = _setting(
        None, "RPC address of the node. Not set: 127.0.0.1 and the network's usual port."
    )
    rpc_user: str | None = _setting(None, "The node's `rpcuser`, where it is not asked with a cookie file.")
    rpc_password: SecretStr | None = _setting(None, "The node's `rpcpassword`.")
    rpc_cookie_file: Path | None = _setting(
        None, "The file `.cookie` in the node's data folder, which it writes anew at each start."
    )
    esplora_url: HttpUrl | None = _setting(
        None, "Address of the API, up to and without `/blocks/tip/height`: `https://blockstream.info/api`."
    )
    start_height: int = _setting(
        0, "First block to index. Charms that were made below it are not known.", unit="Bitcoin blocks", ge=0
    )
    finality_depth: int = _setting(
        6, "How many blocks on top make a block count as final.", unit="Bitcoin blocks", ge=1
    )
    behind_blocks: int = _setting(
        2,
        "How many blocks the index may be behind the highest healthy source and be relied on, and a source below the "
        "index's tip without being behind.",
        unit="Bitcoin blocks",
        ge=0,
    )
    poll_seconds: float = _setting(
        5.0, "How often a source is asked at the tip that does not tell of blocks by itself.", unit="seconds", gt=0
    )
    processes: int | None = _setting(
        None,
        "How many processes go through blocks while many are missing; 0 for none. Not set: one for each processor "
        "but one, and at least two.",
        ge=0,
    )
    mock_spells: bool = _setting(
        False, "Take spells as true that say of themselves that their proof means nothing. On regtest alone."
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.mock_spells and self.network is not BitcoinNetwork.REGTEST:
            raise ValueError(f"mock_spells would take anything for true on {self.network}: it is for regtest alone")
        if BitcoinSourceName.ESPLORA in self.sources and self.esplora_url is None:
            raise ValueError("sources has esplora, and esplora_url does not say where the API is")
        if self.rpc_user is not None and self.rpc_cookie_file is not None:
            raise ValueError("rpc_user and rpc_cookie_file are two ways to sign in: set one of them")
        return self


class GraphQL(_Section):
    """The GraphQL server."""

    host: str = _setting("127.0.0.1", "Address the server listens on.")
    port: Port = _setting(8000, "Port the server listens on; 0 takes a free one.")
    database_url: PostgresUrl | None = _setting(
        None,
        "URL of the database that is read, such as a streaming replica of `database_url`. More than one host: the "
        "first that answers; `target_session_attrs=prefer-standby` prefers replicas. Not set: `database_url`.",
    )
    reader_role: RoleName | None = _setting(
        None,
        "Role that the server reads as and that can write nothing: `clarion_reader`, which `clarion db roles` makes. "
        "Not set: the user of the URL, in read-only transactions.",
    )
    proxies: IpNetworks = _setting(
        [],
        "Addresses and networks of the proxies before the server, separated by commas. Only what these say of a "
        "request (where it comes from, `X-Request-Id`) is believed.",
    )
    proxy_header: ProxyHeader = _setting(
        ProxyHeader.X_FORWARDED_FOR,
        "The header that the proxies say a client's address in: `X-Forwarded-For` or `Forwarded`. The other one is not "
        "looked at: a client may have sent it.",
    )
    origins: Names = _setting(
        ["*"],
        "Origins of the web pages that may read answers (CORS), such as `https://app.example.org`, and others; "
        "`*` for every page.",
    )
    max_body_bytes: int = _setting(1 << 20, "Largest request that is taken.", unit="bytes", ge=1)
    max_batch: int = _setting(10, "How many operations one request may hold, as a JSON array; 1: no arrays.", ge=1)
    max_requests: int = _setting(1_000, "How many requests are answered at once; others are told to come back.", ge=1)
    compression: bool = _setting(True, "Compress answers for clients that take zstd or gzip.")
    cache_bytes: int = _setting(
        64 << 20,
        "What answers may take in memory that are sent again until the next block; 0 keeps none.",
        ge=0,
        unit="bytes",
    )
    introspection: bool = _setting(True, "Tell clients the schema, and browsers an editor for queries.")
    documents: Path | None = _setting(
        None,
        "The only documents that are answered: a JSON file of texts by id, a manifest of Apollo's, or a "
        "folder of `.graphql` files. Not set: any document.",
    )
    max_depth: int = _setting(15, "How many levels deep an operation may nest.", ge=1)
    max_aliases: int = _setting(50, "How many aliases an operation may have.", ge=0)
    max_tokens: int = _setting(5_000, "How many words and signs a document may have.", ge=1)
    max_cost: int = _setting(
        500_000, "How many fields an answer may hold, were every page of it full.", unit="fields", ge=1
    )


class Accounts(_Section):
    """Sign-in with a Stacks wallet and API keys, on the GraphQL server."""

    database_url: PostgresUrl | None = _setting(
        None, "URL of the database that sessions and keys are kept in; it takes writes. Not set: `database_url`."
    )
    role: RoleName | None = _setting(
        None,
        "Role that sessions and keys are written as and that can read no chain data: `clarion_account`, which "
        "`clarion db roles` makes. Not set: the user of the URL.",
    )
    hosts: Names = _setting(
        ["localhost", "127.0.0.1"],
        "Hosts of the web pages that users may sign in on, separated by commas. One without a port stands for every "
        "port. Empty: nobody can sign in.",
    )
    session_seconds: int = _setting(86_400, "How long a sign-in lasts.", unit="seconds", ge=60)
    operators: Names = _setting(
        [],
        "Stacks addresses of who runs the keeper, separated by commas. They and the API keys that they make for it see "
        "what it plans and sends.",
    )
    anonymous: Scopes = _setting(
        [Scope.READ, Scope.SUBSCRIBE, Scope.PREPARE],
        "What callers without sign-in and key may do: `read` (queries), `subscribe`, `prepare` (transactions), "
        "`keeper` (see what the keeper plans and sends); separated by commas.",
    )


class Quota(_Section):
    """How much one caller of the GraphQL server may ask for: a rate of cost, which is in fields, as `100000/minute`."""

    anonymous: Rate | None = _setting(
        None, "Cost that one network address may cause; of IPv6 one /64 counts as one address. Not set: any."
    )
    signed_in: Rate | None = _setting(None, "Cost that one signed-in Stacks address may cause. Not set: any.")
    api_key: Rate | None = _setting(None, "Cost that one API key may cause. Not set: any.")
    connections: int | None = _setting(
        None, "WebSocket and event stream connections that one caller may hold at once. Not set: any number.", ge=1
    )


class Devnet(_Section):
    """The local chain that `clarion dev` runs."""

    host: str = _setting("127.0.0.1", "Address the devnet's RPC listens on.")
    port: Port = _setting(20443, "Port the devnet's RPC listens on; 0 takes a free one.")
    block_interval_ms: int = _setting(
        2_000, "Time between Stacks blocks; 0 mines only when asked to.", unit="milliseconds", ge=0
    )
    burn_interval_ms: int = _setting(
        10_000, "Time between Bitcoin blocks; 0 mines only when asked to.", unit="milliseconds", ge=0
    )
    seed: int = _setting(1, "Where hashes and made-up activity start from: the same seed gives the same chain.", ge=0)


class Regtest(_Section):
    """The local Bitcoin that `clarion regtest` and `clarion dev` run."""

    host: str = _setting("127.0.0.1", "Address the regtest's RPC listens on.")
    port: Port = _setting(18443, "Port the regtest's RPC listens on; 0 takes a free one.")
    block_interval_ms: int = _setting(
        3_000, "Time between blocks; 0 mines only when asked to.", unit="milliseconds", ge=0
    )
    seed: int = _setting(1, "Where coins and made-up activity start from: the same seed gives the same apps.", ge=0)
    keeper_blocks: int = _setting(
        0,
        "For how many blocks zkUSD's cast stands still where a vault can be liquidated, so that a keeper can do it.",
        unit="Bitcoin blocks",
        ge=0,
    )
    prover_port: Port = _setting(
        17784, "Port the stand-in for Charms' prover listens on (`clarion prover`); 0 takes a free one."
    )


class SigningLimits(_Section):
    """What the account's agent signs (`file:`, `env:` and `keyring:`); it decodes each transaction to see."""

    calls: Names | None = _setting(
        None,
        "Calls that are signed: `CONTRACT.FUNCTION` with `*` for any letters, separated by commas in the environment. "
        "A protocol's name stands for the address of `deployers`: `bithedge.bh-policy.settle*`. Not set: every "
        "function of the contracts of `deployers`.",
    )
    tokens: dict[str, Annotated[int, Field(ge=0)]] = _setting(
        {},
        "What a transaction's post-conditions may let the account send, by the token's contract or `STX`. Not set: "
        "nothing.",
        unit="smallest unit of the token",
    )
    max_fee: int | None = _setting(
        None,
        "Highest fee of a transaction. Not set: `keeper.fee_cap`; on Bitcoin `keeper.bitcoin.fee_rate_cap` for 10,000 "
        "virtual bytes.",
        unit="micro-STX or satoshis",
        ge=0,
        le=_MAX_AMOUNT,
    )
    max_spent: int | None = _setting(
        None,
        "On Bitcoin, the most that a transaction may take from the account, its fee included. Not set: twice "
        "`max_fee`.",
        unit="satoshis",
        ge=0,
        le=_MAX_AMOUNT,
    )
    max_hourly: int | None = _setting(
        None,
        "Most that transactions of any hour may take, fees included. Not set: the account's `hourly_budget`, or else "
        "100 transactions of the highest fee.",
        unit="micro-STX or satoshis",
        ge=0,
        le=_MAX_AMOUNT,
    )


class KeeperAccount(_Section):
    """An account of the keeper's: one key, one sequence of nonces. NAME is any; a lane is one account's of a chain."""

    signer: SignerUrl = Field(
        description="Who signs: `file:/PATH`, `env:NAME` or `keyring:SERVICE/USER` say where the key is, "
        "`process:COMMAND` or `unix:/PATH` where a signer listens.",
        json_schema_extra={"unit": None},
    )
    chain: Literal["stacks", "bitcoin"] = _setting("stacks", "The chain: `stacks` or `bitcoin`.")
    lanes: Lanes = _setting(
        list(Lane), "What it sends: `rescue`, `settle`, `upkeep`, `oracle`, `incentives`, by urgency.", min_length=1
    )
    hourly_budget: int | None = _setting(
        None, "Most fees in any hour. Not set: any.", unit="micro-STX or satoshis", ge=0
    )
    min_balance: int = _setting(
        0,
        "What has to stay in the account: nothing is signed that could take it lower.",
        unit="micro-STX or satoshis",
        ge=0,
    )
    limits: SigningLimits = Field(default_factory=SigningLimits)


class KeeperFeed(_Section):
    """Prices from exchanges' public APIs: what an oracle provider submits, and the keeper's reference price."""

    assets: Names = _setting(
        ["BTC", "STX"], "Assets whose prices are asked for and submitted, by their names in the oracle's contract."
    )
    markets: dict[str, dict[str, str]] = _setting(
        {},
        'Where an asset is quoted, by asset and exchange, such as `{"STX": {"kraken": "STX/USD"}}`. In the environment '
        "as JSON. Not set: what docs/oracle-feed.md lists.",
    )
    urls: dict[str, HttpUrl] = _setting({}, "Base addresses of APIs, by exchange. Not set: the exchange's own.")
    keys: dict[str, SecretStr] = _setting({}, "API keys, by exchange; of those there are, coingecko takes one.")
    interval_seconds: int = _setting(30, "How long a reading of all prices is used.", unit="seconds", ge=1)
    timeout_seconds: int = _setting(
        10, "How long an exchange may take, all attempts together.", unit="seconds", ge=1, le=60
    )
    attempts: int = _setting(3, "How often an exchange is asked that gives no answer.", ge=1)
    min_sources: int = _setting(3, "From how many exchanges at least a price has to come.", ge=1)
    min_rate_sources: int = _setting(
        2,
        "From how many exchanges at least a stablecoin's rate has to come. Without one its quotes do not count.",
        ge=1,
    )
    max_age_seconds: int = _setting(120, "How old a quote may be that counts.", unit="seconds", ge=1)
    outlier_bp: int = _setting(500, "A quote further from the median than this does not count.", unit="1/10000", ge=1)
    max_spread_bp: int = _setting(
        500, "A price whose sources are further apart than this is not submitted.", unit="1/10000", ge=1
    )
    deviation_bp: int = _setting(
        100, "A price is submitted when it has moved this far from the last closed one.", unit="1/10000", ge=1
    )
    heartbeat_burn: int | None = _setting(
        None,
        "A price is submitted when the last closed one is this old. Not set: half of the parameter `price-max-age`.",
        unit="Bitcoin blocks",
        ge=1,
    )
    min_gap_burn: int = _setting(
        1, "So many Bitcoin blocks are between two prices of ours of one asset.", unit="Bitcoin blocks", ge=0
    )
    max_clock_offset_seconds: int = _setting(
        30, "Nothing is submitted when this machine's clock is further off the exchanges'.", unit="seconds", ge=2
    )
    max_tip_offset_seconds: int | None = _setting(
        None,
        "Nothing is submitted when this machine's clock is further off the time of the chain's tip. Not set: 3600 on "
        "mainnet and testnet, any elsewhere, where the time of blocks is made up.",
        unit="seconds",
        ge=1,
    )


class KeeperZkUsd(_Section):
    """What the keeper does on zkUSD, with an account of the chain `bitcoin`."""

    cosigners: list[SignerUrl] = _setting(
        [],
        "Signers of the outputs that states and vaults lie at, as in `accounts`. Without them a spell is handed out "
        "unsigned, with the names of who has to sign.",
    )
    min_confirmations: int = _setting(1, "How many confirmations what a spell spends must have.", unit="blocks", ge=1)
    charms_fee: int = _setting(
        2_000, "What a spell is expected to pay for Charms, when profits are worked out.", unit="satoshis", ge=0
    )
    prover_cost: int = _setting(
        0, "What a proof costs beside that, when profits are worked out.", unit="satoshis", ge=0
    )
    redeem_at_price8: int | None = _setting(
        None,
        "What a zkUSD costs elsewhere: what the keeper holds is redeemed where that is worth more. Not set: nothing is "
        "redeemed.",
        unit="10^-8 US dollars",
        gt=0,
    )
    redeem_most: int = _setting(
        1_000 * 10**8, "Most zkUSD that redemptions look at together.", unit="10^-8 zkUSD", gt=0
    )
    rescue_most: int = _setting(
        0, "Most that is added to an own vault at once to keep it from liquidation; 0: nothing.", unit="satoshis", ge=0
    )
    rescue_below_percent: int = _setting(
        130, "Ratio below which own vaults are looked at for that.", unit="percent", gt=100
    )
    rescue_to_percent: int = _setting(160, "Ratio that a rescued vault is brought to.", unit="percent", gt=100)


class KeeperBitcoin(_Section):
    """What the keeper's transactions on Bitcoin pay, and who relays and proves them."""

    node_urls: HttpUrls = _setting(
        [],
        "RPC addresses of further nodes that transactions are sent to, besides `bitcoin.rpc_url`; they are signed in "
        "to in the same way, unless an address has a user and a password of its own.",
    )
    fee_blocks: int = _setting(
        2, "Within how many blocks a transaction is to be mined, by the nodes' estimate.", unit="Bitcoin blocks", ge=1
    )
    fee_rate_first: int = _setting(
        5_000,
        "Fee rate of a first attempt where no node gives an estimate.",
        unit="satoshis for 1,000 virtual bytes",
        gt=0,
    )
    fee_rate_cap: int = _setting(
        100_000,
        "Most that a transaction may pay; coins are chosen so that the fee can be raised to it without another proof.",
        unit="satoshis for 1,000 virtual bytes",
        gt=0,
    )
    charms_fee_address: str | None = _setting(
        None, "Address that the prover's charge may be paid to, as Charms publishes it. Not set: nothing is paid."
    )
    charms_fee_most: int = _setting(10_000, "Most that a prover may charge for a spell.", unit="satoshis", ge=0)
    prover_seconds: int = _setting(300, "How long a prover may take. Proving takes minutes.", unit="seconds", ge=1)
    prover_attempts: int = _setting(3, "How often a prover is asked that cannot for now.", ge=1)


class Keeper(_Section):
    """The keeper, which sends the transactions that anyone may send, and those of the roles whose keys it has."""

    graphql_url: HttpUrl = _setting("http://127.0.0.1:8000/graphql", "Where the keeper reads what there is to do.")
    graphql_api_key: SecretStr | None = _setting(
        None, "API key that it reads with, of scopes `read` and `subscribe`; not set: as anybody."
    )
    node_urls: HttpUrls = _setting([], "RPC addresses of the nodes that transactions are sent to; none: `node.url`.")
    dry_run: bool | None = _setting(
        None, "Decide, plan and simulate, but sign nothing. Not set: so on mainnet, and not elsewhere."
    )
    accounts: dict[str, KeeperAccount] = _setting({}, "The accounts, by name: see below. A lane without one waits.")
    jobs: Names | None = _setting(
        None, "Jobs to do, by name; separated by commas in the environment. Not set: all there are."
    )
    job_files: Annotated[list[Path], NoDecode, BeforeValidator(_split_at_commas)] = _setting(
        [], "Python files with jobs of your own, separated by commas in the environment."
    )
    depths: dict[str, Annotated[int, Field(ge=0)]] = _setting(
        {},
        "For how many Bitcoin blocks something must have stayed due before it is sent, by job. Not set: the job's own.",
    )
    min_profit: int | None = _setting(
        0,
        "Least profit of a transaction that earns a reward, after its fee. Not set: whatever it costs. What earns "
        "nothing is sent within the budget.",
        unit="10^-8 US dollars",
    )
    fee_policy: FeePolicyName = _setting(
        FeePolicyName.ESCALATING,
        "How fees are found: `fixed` (`fee_first`), `estimate` (the nodes' estimate), `escalating` (from the estimate "
        "up to the cap as the deadline comes near).",
    )
    fee_first: int = _setting(10_000, "Fee of a first attempt where no node gives an estimate.", unit="micro-STX", gt=0)
    fee_cap: int = _setting(1_000_000, "Most that a transaction may pay.", unit="micro-STX", gt=0)
    fee_estimate_percent: int = _setting(
        110, "Part of the nodes' estimate that is paid.", unit="percent", ge=1, le=10_000
    )
    fee_raise_percent: int = _setting(
        125,
        "What a replacement pays at least, of what it replaces. Nodes ask for anything more than 100.",
        unit="percent",
        gt=100,
        le=10_000,
    )
    fee_escalation_blocks: int = _setting(
        6,
        "How long before a deadline the fees of `escalating` begin to rise; where less time was given, over that.",
        unit="Bitcoin blocks",
        ge=1,
    )
    replace_after_blocks: int = _setting(
        3,
        "A transaction that is not mined after so many blocks is replaced with a higher fee.",
        unit="Stacks blocks",
        ge=1,
    )
    breaker: BreakerPreset = _setting(
        BreakerPreset.DEFAULT,
        "When a server that keeps failing is left alone: after 5 failures in a row for 30 seconds (`default`), after 3 "
        "for 60 (`strict`), after 10 for 15 (`relaxed`).",
    )
    node_timeout_seconds: int = _setting(
        5,
        "How long a node may take for one answer; one that stalls must not hold up a rescue.",
        unit="seconds",
        ge=1,
        le=60,
    )
    keep_days: int | None = _setting(
        365,
        "How long the record of an intent and its transaction is kept after both have ended. Not set: always.",
        unit="days",
        ge=2,
    )
    lease_seconds: int = _setting(
        15, "How long a keeper leads without renewing; then another one takes over.", unit="seconds", ge=2
    )
    role: RoleName | None = _setting(
        None,
        "Role that the keeper remembers as and that can read no chain data: `clarion_keeper`, which `clarion db roles` "
        "makes. Not set: the user of the URL.",
    )
    alert_runway_hours: int = _setting(
        24, "Tell of accounts that last for fewer hours at the pace of the last one.", unit="hours", ge=0
    )
    alert_budget_percent: int = _setting(
        80, "Tell of accounts that have spent more of what they may spend in an hour.", unit="percent", ge=0, le=100
    )
    alert_rescue_blocks: int = _setting(
        3, "Tell of rescues that have been due for more blocks.", unit="Bitcoin blocks", ge=0
    )
    prover_url: HttpUrl | None = _setting(
        None,
        "Where the prover of Charms is, up to and without `/spells/prove`; it is of the version that spells are. Not "
        "set: Charms' own for mainnet and testnet4, and none elsewhere.",
    )
    bitcoin: KeeperBitcoin = Field(default_factory=KeeperBitcoin)
    feed: KeeperFeed = Field(default_factory=KeeperFeed)
    zkusd: KeeperZkUsd = Field(default_factory=KeeperZkUsd)

    @model_validator(mode="after")
    def _a_lane_is_one_account_s(self) -> Self:
        taken: dict[tuple[str, Lane], str] = {}
        for name, account in self.accounts.items():
            for lane in account.lanes:
                if other := taken.get((account.chain, lane)):
                    raise ValueError(f"accounts {other} and {name} both serve the lane {lane} on {account.chain}")
                taken[account.chain, lane] = name
        return self


class Log(_Section):
    """What is written to standard error."""

    level: LogLevel = _setting(LogLevel.INFO, "Least serious messages to write: debug, info, warning or error.")
    format: LogFormat = _setting(LogFormat.CONSOLE, "`console` for people, `json` for one object a line.")


class Metrics(_Section):
    """Prometheus metrics, and with them the health checks of `clarion index`."""

    host: str = _setting("127.0.0.1", "Address that metrics are served on.")
    port: Port | None = _setting(None, "Port that metrics are served on; 0 takes a free one. Not set: not served.")


class Ready(_Section):
    """When `/readyz` says that the index can be relied on, and `/healthz` that its process works."""

    max_lag_blocks: int = _setting(
        20, "How many blocks the index may be behind the highest healthy source.", unit="Stacks blocks", ge=0
    )
    max_lag_seconds: int = _setting(
        120, "How long the oldest post may have been waiting to be applied.", unit="seconds", ge=0
    )
    max_failed_posts: int = _setting(0, "How many posts may have been put aside because they cannot be applied.", ge=0)
    source_behind_blocks: int = _setting(
        10, "How many blocks a source may be below the index's tip without being behind.", unit="Stacks blocks", ge=0
    )
    max_batch_seconds: int = _setting(
        600, "How long one batch may take before the process counts as stuck.", unit="seconds", ge=1
    )


class Retention(_Section):
    """How much of the past is kept: `all`, or so many blocks under the tip (`1000 blocks`), and what is not final."""

    tables: dict[str, BlocksKept] = _setting(
        {},
        "How far back a projection table can be read as it was, by table such as `bithedge.quote`; `*` for those not "
        "named. Not set: all.",
    )
    feed: BlocksKept = _setting(
        None, "How far back subscriptions can go on, and blocks that lost a fork are kept. Not set: all."
    )
    dropped_mempool_days: int | None = _setting(
        None,
        "How long transactions are kept that the node dropped without mining them. Not set: always.",
        unit="days",
        ge=0,
    )
    interval_seconds: int = _setting(60, "How often the indexer deletes what is not kept.", unit="seconds", ge=1)


class Settings(BaseModel):
    """Every setting. Constructing it reads nothing from outside: see `load_settings`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state_dir: Path = _setting(
        Path(".clarion"), "Folder for what Clarion keeps between runs: the embedded database and the devnet's chain."
    )
    database_url: PostgresUrl | None = _setting(
        None, "URL of a Postgres database to use (`postgresql://user:password@host/name`). Not set: an embedded one."
    )
    postgres_dir: Path | None = _setting(
        None,
        "Folder of the Postgres that runs the embedded database, the one with `bin`. Not set: the one installed with "
        "Clarion.",
    )
    network: NetworkName = _setting(
        NetworkName.DEVNET, "Stacks network: devnet, mocknet, testnet or mainnet. Sets chain id and address versions."
    )
    start_height: int = _setting(0, "First Stacks block to index.", unit="Stacks blocks", ge=0)
    finality_burn_depth: int = _setting(
        6,
        "How deep a block's anchor is under Bitcoin's tip when the block counts as final.",
        unit="Bitcoin blocks",
        ge=1,
    )
    protocols: Names = _setting(["bithedge"], "Protocols to index, by name; separated by commas in the environment.")
    deployers: dict[str, str] = _setting(
        {}, "Address that deployed a protocol's contracts, by protocol. Not set: the protocol's own for the network."
    )
    only: dict[str, Names] = _setting(
        {},
        "Contracts that a protocol which looks at all of them is narrowed to, by protocol; `STX` for what happens to "
        "STX. Not set: all. A change makes the protocol's rows anew.",
    )
    parameters: dict[str, dict[str, Any]] = _setting(
        {},
        "What a protocol is told beyond this, by protocol: see the protocol's own page. In the environment as JSON. A "
        "change makes the protocol's rows anew.",
    )
    sources: Annotated[list[SourceName], NoDecode, BeforeValidator(_split_at_commas)] = _setting(
        [SourceName.OBSERVER],
        "Where Stacks' blocks come from: `observer` (a node posts them), `hiro` (a Stacks Blockchain API is asked for "
        "them) or both; separated by commas in the environment. Empty: Stacks is not indexed. May be changed at any "
        "time: nothing is indexed again.",
    )
    observer: Observer = Field(default_factory=Observer)
    node: Node = Field(default_factory=Node)
    hiro: Hiro = Field(default_factory=Hiro)
    bitcoin: Bitcoin = Field(default_factory=Bitcoin)
    graphql: GraphQL = Field(default_factory=GraphQL)
    accounts: Accounts = Field(default_factory=Accounts)
    quota: Quota = Field(default_factory=Quota)
    devnet: Devnet = Field(default_factory=Devnet)
    regtest: Regtest = Field(default_factory=Regtest)
    keeper: Keeper = Field(default_factory=Keeper)
    log: Log = Field(default_factory=Log)
    metrics: Metrics = Field(default_factory=Metrics)
    ready: Ready = Field(default_factory=Ready)
    retention: Retention = Field(default_factory=Retention)

    @model_validator(mode="after")
    def _what_is_by_protocol_is_of_enabled_ones(self) -> Self:
        named: tuple[tuple[str, Mapping[str, Any]], ...] = (
            ("deployers", self.deployers),
            ("only", self.only),
            ("parameters", self.parameters),
        )
        for name, by_protocol in named:
            if unknown := sorted(by_protocol.keys() - set(self.protocols)):
                raise ValueError(f"{name} names {', '.join(unknown)}, which protocols does not enable")
        return self

    @model_validator(mode="after")
    def _api_is_known(self) -> Self:
        if SourceName.HIRO in self.sources and self.hiro.url is None and self.network not in PUBLIC_NETWORKS:
            raise ValueError(f"sources has hiro, and hiro.url does not say where the API of {self.network} is")
        return self

    @property
    def keeper_node_urls(self) -> list[str]:
        """RPC addresses that the keeper sends transactions to."""
        return self.keeper.node_urls or [self.node.url]

    @property
    def keeper_dry_run(self) -> bool:
        """Whether the keeper signs nothing."""
        return self.network is NetworkName.MAINNET if self.keeper.dry_run is None else self.keeper.dry_run


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings; `overrides` holds what the caller knows better, with sections as nested mappings.

    Raises:
        ConfigurationError: the file is missing or unreadable, or a setting is unknown or wrong.
    """
    named = os.environ.get(CONFIG_FILE_VARIABLE)
    path = Path(named) if named else DEFAULT_CONFIG_FILE
    in_file = _read_toml(path) if named or path.exists() else {}

    class FromOutside(BaseSettings, Settings):
        model_config = SettingsConfigDict(
            env_prefix=ENV_PREFIX, env_nested_delimiter=SECTION_SEPARATOR, extra="forbid", frozen=True
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, in_file)

    try:
        read = FromOutside(**(overrides or {}))
    except SettingsError as error:
        raise ConfigurationError(f"The environment cannot be read: {error}") from error
    except ValidationError as error:
        problems = [
            _explain(problem["type"], problem["loc"], problem["msg"], in_file, path) for problem in error.errors()
        ]
        raise ConfigurationError("\n".join(problems)) from None  # the cause would print values, secrets among them
    return Settings(**{name: getattr(read, name) for name in Settings.model_fields})


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"The settings file {path} cannot be read: {error}") from error


def _explain(kind: str, location: tuple[int | str, ...], message: str, in_file: Mapping[str, Any], path: Path) -> str:
    """One problem in words: where the setting stands, its name, what is wrong with it."""
    name = ".".join(str(part) for part in location)
    found: Any = in_file
    for part in location:
        found = found.get(part) if isinstance(found, Mapping) else None
    origin = str(path) if found is not None else "the environment"
    if kind == "extra_forbidden":
        section = ".".join(str(part) for part in location[:-1])
        known = [entry.name for entry in settings_list() if entry.name.rpartition(".")[0] == section]
        sections = [title for title, _ in _sections() if not section]
        return f"{origin}: {name} is no setting. There are: {', '.join([*known, *sections])}."
    return f"{origin}: {name + ': ' if name else ''}{message.removeprefix('Value error, ')}"


class Entry(NamedTuple):
    """A setting as the reference shows it."""

    name: str
    variable: str
    default: str
    unit: str
    description: str


def _sections(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section by its name, those within sections after them; `NAME` stands for what a table's keys may be."""
    for name, field in model.model_fields.items():
        kind, path = field.annotation, prefix + name
        if get_origin(kind) is dict:
            kind, path = get_args(kind)[1], f"{path}.NAME"
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield path, kind
            yield from _sections(kind, f"{path}.")


def settings_list() -> list[Entry]:
    """Every setting, those outside sections first."""
    sections = dict(_sections())
    entries = [_entry(name, field) for name, field in Settings.model_fields.items() if name not in sections]
    for section, model in sections.items():
        entries += [
            _entry(f"{section}.{name}", field)
            for name, field in model.model_fields.items()
            if f"{section}.{name}" not in sections
        ]
    return entries


def _entry(name: str, field: FieldInfo) -> Entry:
    extra = field.json_schema_extra
    unit = extra.get("unit") if isinstance(extra, dict) else None
    default = None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})
    shown = str(default) if isinstance(default, str | Path) else json.dumps(default)
    return Entry(
        name=name,
        variable=ENV_PREFIX + name.replace(".", SECTION_SEPARATOR).upper(),
        default="" if default in (None, [], {}) else f"`{shown}`",
        unit=str(unit or ""),
        description=field.description or "",
    )


def reference() -> str:
    """The text of `docs/configuration.md`."""
    lines = [
        "# Configuration",
        "",
        "Clarion needs no configuration to run locally. A setting comes from the first of these that has it: an option",
        "on the command line, the environment, the TOML file, the default.",
        "",
        f"The file is `{DEFAULT_CONFIG_FILE}` in the working directory, or what `{CONFIG_FILE_VARIABLE}` names.",
        "A name with a dot is a setting in a section:",
        "",
        "```toml",
        'network = "testnet"',
        "",
        "[graphql]",
        "port = 8080",
        "",
        "[deployers]",
        'bithedge = "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM"',
        "```",
        "",
        "In the environment a section is separated by two underscores: `CLARION_GRAPHQL__PORT=8080`,",
        "`CLARION_DEPLOYERS__BITHEDGE=ST1…`, `CLARION_ONLY__STACKS=STX,ST1….token`. A name in the file, or in a",
        "section, that is none of these is an error.",
        "",
        "Keep secrets (`database_url` with a password, `node.auth_token`) in the environment rather than in the file.",
        "",
        "This page is made by `make docs` from `indexer/clarion/config.py`.",
    ]
    sections = dict(_sections())
    for section in ["", *sections]:
        lines += ["", f"## {section or 'General'}", ""]
        if section:
            lines += [(sections[section].__doc__ or "").strip(), ""]
        lines += ["| Setting | In the environment | Default | Unit | Meaning |", "|---|---|---|---|---|"]
        lines += [
            f"| `{entry.name}` | `{entry.variable}` | {entry.default} | {entry.unit} | {entry.description} |"
            for entry in settings_list()
            if entry.name.rpartition(".")[0] == section
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
