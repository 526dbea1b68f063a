"""The first zkUSD ever minted: testnet4, transaction f5a19de4…6167d, 2026-01-26."""

from support.zkusd_chain import Chain, Out, Tx, b32

from clarion.protocols.zkusd.app_sets import ZERO_IDENTITY, packaged_sets
from clarion.protocols.zkusd.tables import Contract, PriceInput, ProtocolState, TokenBalance, Vault, VaultVersion

ADMIN = "0fef72e8286c0dd8d5dd569e930433c322330d338650adc1aa0a4502d35a1748"
VAULT_ID = "572ef89376ad7d2f5e006de1f4a233114a65848baea6216a699cddc74923b82d"
MINT = "f5a19de4e1297fd681711b912c61dc5514aea2676aafce4737b377267ef6167d"
SET_MINTER = "5f0e8aa6b39ae268c743bf6216e299533612344dc1daecdcf98dc7eae726d48d"

[V9] = packaged_sets("testnet4")


def app(role: str, tag: str = "n", *, deploy: bool = False) -> str:
    found = V9.app(role)
    return f"{tag}/{ZERO_IDENTITY if deploy else found.identity}/{found.vk}"


def manager_state(collateral: int, debt: int, vaults: int, height: int) -> dict:
    return {
        "protocol": {
            "total_collateral": collateral,
            "total_debt": debt,
            "active_vault_count": vaults,
            "base_rate": 50,
            "last_fee_update_block": height,
            "admin": b32(ADMIN),
            "is_paused": False,
        },
        "zkusd_token_id": b32(V9.token.identity),
        "stability_pool_id": b32(V9.stability_pool.identity),
        "price_oracle_id": b32(V9.oracle.identity),
        "active_pool": b32(ADMIN),
        "default_pool": b32(ADMIN),
    }


def oracle_state() -> dict:
    price = {"price": 10_000_000_000_000, "timestamp_block": 0, "source": "Mock", "confidence": 100}
    return {
        "price": price,
        "operator": b32(ADMIN),
        "admin": b32(ADMIN),
        "is_active": True,
        "last_valid_price": price["price"],
    }


def token_state(minter: str, supply: int) -> dict:
    return {"admin": b32(ADMIN), "authorized_minter": b32(minter), "total_supply": supply}


def deploy(role: str, state: dict) -> Tx:
    outpoint = V9.app(role).genesis
    assert outpoint is not None
    tx_id, _, vout = outpoint.partition(":")
    assert vout == "0"
    funding = f"{tx_id[::-1]}:3"
    return Tx([funding], [Out("admin", {app(role, deploy=True): state})], id=tx_id)


def test_is_read_in_full() -> None:
    chain = Chain(network="testnet4", start=120_190)
    chain.block(
        deploy("oracle", oracle_state()),
        deploy("token", token_state("00" * 32, 0)),
        deploy("vault_manager", manager_state(0, 0, 0, 0)),
    )
    manager = V9.vault_manager.identity
    chain.block(
        Tx([f"{V9.token.genesis}"], [Out("admin", {app("token"): token_state(manager, 0)})], id=SET_MINTER),
    )
    chain.block(
        Tx(
            [f"{V9.vault_manager.genesis}", f"{'fa59c666' * 8}:3", f"{SET_MINTER}:0"],
            [
                Out("admin", {app("vault_manager"): manager_state(500_000, 1_200_000_000, 1, 120_228)}),
                Out(
                    "admin",
                    {
                        app("vault_manager"): {
                            "id": b32(VAULT_ID),
                            "owner": b32(ADMIN),
                            "collateral": 500_000,
                            "debt": 1_200_000_000,
                            "created_at": 120_228,
                            "last_updated": 120_228,
                            "status": "Active",
                            "interest_rate_bps": 100,
                            "accrued_interest": 0,
                            "redistributed_debt": 0,
                            "redistributed_collateral": 0,
                            "insurance_balance": 0,
                        }
                    },
                ),
                Out("admin", {app("token"): token_state(manager, 1_000_000_000)}),
                Out("admin", {app("token", "t"): 1_000_000_000}),
                Out("admin"),
            ],
            inputs={
                app("vault_manager"): {
                    "price": 10_000_000_000_000,
                    "timestamp_block": 120_228,
                    "source": "Mock",
                    "confidence": 100,
                }
            },
            id=MINT,
        )
    )

    assert chain.kinds(MINT) == [
        "ProtocolTotalsChanged",
        "PriceInputUsed",
        "VaultOpened",
        "UnbackedCollateral",
        "TokenMint",
    ]
    opened = chain.last("VaultOpened")
    assert opened["vault_id"] == VAULT_ID
    assert opened["data"] == {
        "owner": ADMIN,
        "collateral": 500_000,
        "debt": 1_200_000_000,
        "minted": 1_000_000_000,
        "nominal_fee": 10_000_000,
        "charged_fee": 0,
        "price8": 10_000_000_000_000,
        "icr_percent": 4166,
    }
    assert chain.kinds(SET_MINTER) == ["MinterSet"]

    [vault] = chain.rows(Vault)
    assert (vault["genesis"], vault["outpoint"], vault["live"], vault["genuine"]) == (
        f"{MINT}:1",
        f"{MINT}:1",
        True,
        True,
    )
    assert (vault["utxo_sats"], vault["backed"], vault["liquidation_price8"]) == (547, False, 264_000_000_000)
    assert (vault["at_risk_since_height"], vault["interest_rate_bps"]) == (None, 100)
    [version] = chain.rows(VaultVersion)
    assert (version["events"], version["icr_bps"]) == (["VaultOpened", "UnbackedCollateral"], 416_666)

    figures = chain.row(ProtocolState, V9.name)
    assert (figures["reported_debt"], figures["computed_debt"], figures["drift_debt"]) == (1_200_000_000,) * 2 + (0,)
    assert (figures["reported_supply"], figures["token_supply"], figures["drift_supply"]) == (1_000_000_000,) * 2 + (0,)
    assert figures["computed_debt"] == figures["token_supply"] + figures["reserves"]
    assert (figures["tcr_percent"], figures["recovery_mode"]) == (4166, False)
    [balance] = chain.rows(TokenBalance)
    assert (balance["amount"], balance["utxos"], figures["holders"]) == (1_000_000_000, 1, 1)
    [given] = chain.rows(PriceInput)
    assert given["matches"] is True

    manager_row = chain.row(Contract, V9.name, "vault_manager")
    assert (manager_row["outpoint"], manager_row["version"], manager_row["forks"]) == (f"{MINT}:0", 2, 0)
    token_row = chain.row(Contract, V9.name, "token")
    assert (token_row["outpoint"], token_row["version"], token_row["impostors"]) == (f"{MINT}:2", 3, 0)
