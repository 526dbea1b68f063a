import contextlib
from pathlib import Path

import pytest

from clarion.chains.stacks.networks import Network
from clarion.config import (
    ConfigurationError,
    Keeper,
    NetworkName,
    Node,
    Settings,
    load_settings,
    reference,
    settings_list,
)

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def empty_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for entry in settings_list():
        monkeypatch.delenv(entry.variable, raising=False)
    monkeypatch.delenv("CLARION_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def test_without_anything_the_defaults_hold() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert settings.database_url is None
    assert (settings.graphql.host, settings.graphql.port) == ("127.0.0.1", 8000)
    assert settings.network.constants is Network.TESTNET


def test_option_beats_environment_beats_file_beats_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "clarion.toml").write_text('network = "mainnet"\n[graphql]\nhost = "::1"\nport = 1\n')
    assert load_settings().graphql.port == 1
    monkeypatch.setenv("CLARION_GRAPHQL__PORT", "2")
    assert load_settings().graphql.port == 2
    chosen = load_settings({"graphql": {"port": 3}})
    assert (chosen.graphql.port, chosen.graphql.host, chosen.network) == (3, "::1", NetworkName.MAINNET)
    assert chosen.network.constants is Network.MAINNET


def test_the_file_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    named = tmp_path / "other.toml"
    named.write_text("start_height = 7")
    monkeypatch.setenv("CLARION_CONFIG", str(named))
    assert load_settings().start_height == 7
    named.unlink()
    with pytest.raises(ConfigurationError, match=r"other\.toml cannot be read"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("statedir = 'x'", r"clarion\.toml: statedir is no setting\. There are: state_dir, .*, graphql, "),
        (
            "[graphql]\nprot = 1",
            r"clarion\.toml: graphql\.prot is no setting\. There are: graphql\.host, graphql\.port, ",
        ),
        ("[graphql]\nport = 65536", r"clarion\.toml: graphql\.port: Input should be less than or equal to 65535"),
        ("[grahpql]\nport = 1", r"clarion\.toml: grahpql is no setting"),
        ("graphql = 3", r"clarion\.toml: graphql: "),
        ("network = 'simnet'", r"clarion\.toml: network: Input should be 'devnet', 'mocknet', 'testnet' or 'mainnet'"),
        ("database_url = 'mysql://x'", r"clarion\.toml: database_url: must be a URL that starts with postgresql://"),
        ("[node]\nurl = 'localhost'", r"clarion\.toml: node\.url: must start with http"),
        ("[graphql]\nproxies = ['10.0.0.1/8']", r"graphql\.proxies\.0: '10\.0\.0\.1/8' is no address or network"),
        ("[graphql]\nreader_role = 'a; b'", r"graphql\.reader_role: String should match pattern"),
        ("[quota]\nanonymous = '600'", r"quota\.anonymous: '600' is no rate such as `100000/minute`"),
        ("[accounts]\nanonymous = ['write']", r"accounts\.anonymous\.0: Input should be 'read', 'subscribe'"),
        ("[deployers]\nother = 'ST1'", "deployers names other, which protocols does not enable"),
        ("[only]\nother = ['STX']", "only names other, which protocols does not enable"),
        ("= 1", r"The settings file clarion\.toml cannot be read"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "clarion.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load_settings()


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "clarion.toml").write_text("start_height = -1\nfoo = 1\n")
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    assert len(str(raised.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("CLARION_GRAPHQL__PROT", "1", r"the environment: graphql\.prot is no setting"),
        ("CLARION_GRAPHQL__PORT", "many", r"the environment: graphql\.port: Input should be a valid integer"),
        ("CLARION_GRAPHQL", "{", "The environment cannot be read"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=message):
        load_settings()


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLARION_DATABASE_URL", "postgres://clarion:geheim@db/clarion")
    monkeypatch.setenv("CLARION_NODE__AUTH_TOKEN", "geheim")
    settings = load_settings()
    assert "geheim" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://clarion:geheim@db/clarion"
    monkeypatch.setenv("CLARION_DATABASE_URL", "mysql://clarion:geheim@db")
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    assert "geheim" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_lists_and_tables_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLARION_PROTOCOLS", "bithedge, zkusd")
    monkeypatch.setenv("CLARION_DEPLOYERS__ZKUSD", "ST1")
    monkeypatch.setenv("CLARION_KEEPER__NODE_URLS", "http://a:1/,http://b:2")
    settings = load_settings()
    assert settings.protocols == ["bithedge", "zkusd"]
    assert settings.deployers == {"zkusd": "ST1"}
    assert settings.keeper_node_urls == ["http://a:1", "http://b:2"]


def test_the_keeper_sends_to_the_node_unless_told_otherwise() -> None:
    assert Settings(node=Node(url="http://n:1")).keeper_node_urls == ["http://n:1"]
    settings = Settings(node=Node(url="http://n:1"), keeper=Keeper(node_urls=["http://k:1"]))
    assert settings.keeper_node_urls == ["http://k:1"]


def test_the_reference_is_up_to_date_and_says_everything() -> None:
    assert (REPOSITORY / "docs" / "configuration.md").read_text() == reference(), "run `make docs`"
    assert all(entry.description.endswith(".") for entry in settings_list())


def test_every_variable_of_the_reference_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for entry in settings_list():
        with monkeypatch.context() as patch:
            patch.setenv(entry.variable, "a text that no default is")
            with contextlib.suppress(ConfigurationError):
                assert load_settings() != Settings(), f"{entry.variable} has no effect"


def test_every_setting_is_asked_for_somewhere() -> None:
    sources = [path for part in ("indexer", "graphql", "keeper") for path in (REPOSITORY / part).rglob("*.py")]
    code = "\n".join(path.read_text() for path in sources if path.name != "config.py")
    derived = {"keeper.node_urls": "keeper_node_urls"}
    unread = [
        entry.name for entry in settings_list() if f".{derived.get(entry.name, entry.name.split('.')[-1])}" not in code
    ]
    assert not unread


def test_retention_is_all_or_a_number_of_blocks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "clarion.toml"
    file.write_text(
        '[retention]\nfeed = "all"\ntables = { "*" = "1000 blocks", "bithedge.quote" = "1 block", a = "all" }\n'
    )
    monkeypatch.setenv("CLARION_CONFIG", str(file))
    assert load_settings().retention.tables == {"*": 1000, "bithedge.quote": 1, "a": None}
    monkeypatch.setenv("CLARION_RETENTION__FEED", "20 blocks")
    assert load_settings().retention.feed == 20
    for wrong in ("20", "-1 blocks", "20 days", "many blocks"):
        monkeypatch.setenv("CLARION_RETENTION__FEED", wrong)
        with pytest.raises(ConfigurationError, match=r"retention\.feed: .* such as `1000 blocks`"):
            load_settings()
