"""BitHedge's rows in memory, and what must always be true of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from clarion import testing
from clarion.chains.model import Block, BlockRef, BurnBlock, Event, EventKind, Transaction, TransactionStatus
from clarion.protocols.bithedge import protocol
from clarion.protocols.bithedge.tables import (
    Allocation,
    Claim,
    ContractSequence,
    Exposure,
    Policy,
    PolicyLock,
    PolicyTotals,
    Position,
    TierPool,
    TokenPool,
    YieldBalance,
)
from clarion.store.rows import Row

DEPLOYER = "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM"


Printed = tuple[str, Any]
"""A contract id and the JSON form of what the contract printed."""


def block_of(height: int, events: Sequence[Printed], *, burn: int = 0, sender: str = DEPLOYER) -> Block:
    """A block whose one transaction printed these events; the hash of a block is its height."""
    number = height.to_bytes(32, "big")
    transaction = Transaction(
        index=0,
        id=number,
        status=TransactionStatus.SUCCESS,
        kind="contract_call",
        sender=sender,
        sponsor=None,
        nonce=height,
        fee=0,
        contract=None,
        function=None,
        stored_payload=None,
        result=None,
        raw=b"",
    )
    printed = tuple(
        Event(0, index, EventKind.PRINT, contract, str(value["topic"]), value, b"")
        for index, (contract, value) in enumerate(events)
    )
    ref = BlockRef("stacks", height, number, (height - 1).to_bytes(32, "big"))
    burn_block = BurnBlock(burn, burn.to_bytes(32, "big"))
    return Block(ref, 1_700_000_000 + height, burn_block, (transaction,), printed, {})


class Folded:
    """BitHedge's rows in memory, made from events as an index makes them."""

    def __init__(self) -> None:
        self._folded = testing.Folded(protocol.deployed_by(DEPLOYER))
        self._height = 0

    def block(self, events: Sequence[Printed], *, burn: int = 0, sender: str = DEPLOYER) -> None:
        """One block with one transaction that printed these events."""
        self._height += 1
        printed = [testing.event(contract, value, index=index) for index, (contract, value) in enumerate(events)]
        self._folded.block(printed, sender=sender, burn_height=burn, time=1_700_000_000 + self._height)
        assert not self._folded.anomalies, self._folded.anomalies

    def all(self, table: type[Row]) -> list[dict[str, Any]]:
        """Every row of a table, in order of key, without the column that only says when it changed."""
        return [{name: value for name, value in row.items() if name != "updated_height"} for row in self.stored(table)]

    def stored(self, table: type[Row]) -> list[dict[str, Any]]:
        """Every row of a table with all its columns, in order of key."""
        return [row for _, row in sorted(self._by_key(table).items())]

    def one(self, table: type[Row], *key: Any) -> dict[str, Any] | None:
        """A row by its key, or None."""
        return self._by_key(table).get(key)

    def get(self, table: type[Row], key: tuple[Any, ...]) -> dict[str, Any] | None:
        """A row by its key with all its columns, or None; does not look at the others."""
        return self._folded.row(table, key)

    def _by_key(self, table: type[Row]) -> dict[tuple[Any, ...], dict[str, Any]]:
        columns = next(row_type.key_columns for row_type in protocol.row_types if row_type.model is table)
        return {tuple(row[column] for column in columns): row for row in self._folded.rows(table)}

    def assert_complete(self) -> None:
        """No contract's numbering has a hole."""
        for row in self.all(ContractSequence):
            assert (row["first_seq"], row["missing"]) == (1, 0), row

    def assert_invariants(self) -> None:
        """Positions, allocations, locks and totals tell the same story. Needs events from the first on."""
        self.assert_complete()
        self._assert_positions()
        self._assert_policies()
        for row in self.all(TierPool):
            where = {"tier": row["tier"], "token": row["token"]}
            self._assert_sums(row, Position, where, (*_CAPITAL, *_FLOWS, "premium_unearned", "premium_earned"))
            held = [position for position in self._where(Position, where) if position["available"] + position["locked"]]
            assert row["positions"] == len(held)
            locks = self._where(PolicyLock, where)
            assert row["policies"] == len(locks)
            assert row["active_policies"] == sum(lock["state"] == "locked" for lock in locks)
        for row in self.all(TokenPool):
            where = {"token": row["token"]}
            self._assert_sums(row, TierPool, where, (*_CAPITAL, *_FLOWS, "positions", "active_policies", "policies"))
            assert row["unearned"] == sum(pool["premium_unearned"] for pool in self._where(TierPool, where))
            balances = self._where(YieldBalance, where)
            assert row["yield_payable"] == sum(balance["claimable"] for balance in balances)
            assert row["yield_claimed"] == sum(balance["claimed"] for balance in balances)
            assert row["premiums_earned"] == sum(balance["earned"] for balance in balances)
            assert self.owed(row["token"]) == (
                row["deposited"]
                - row["withdrawn"]
                - row["paid_out"]
                + row["premiums"]
                - row["premiums_refunded"]
                - row["yield_claimed"]
                - row["fees_collected"]
            )

    def owed(self, token: str) -> int:
        """Everything the vault holds of a token, by the rows."""
        pool = self.one(TokenPool, token)
        return 0 if pool is None else sum(pool[bucket] for bucket in _BUCKETS)

    def _where(self, table: type[Row], columns: dict[str, Any]) -> list[dict[str, Any]]:
        return [row for row in self.all(table) if columns.items() <= row.items()]

    def _assert_sums(
        self, row: dict[str, Any], parts: type[Row], where: dict[str, Any], columns: Sequence[str]
    ) -> None:
        for column in columns:
            assert row[column] == sum(part[column] for part in self._where(parts, where)), (column, row)

    def _assert_positions(self) -> None:
        for row in self.all(Position):
            key = {name: row[name] for name in ("provider", "tier", "token")}
            assert min(row["available"], row["locked"], row["liability_usd8"], row["active_policies"]) >= 0
            # a move of an allocation may take of what was asked back
            assert row["requested"] <= row["available"] or row["moved_out"]
            came, went = row["deposited"] + row["moved_in"], row["withdrawn"] + row["moved_out"] + row["paid_out"]
            assert row["available"] + row["locked"] == came - went
            active = [allocation for allocation in self._where(Allocation, key) if allocation["state"] == "active"]
            assert row["active_policies"] == len(active)
            assert row["locked"] == sum(allocation["collateral"] for allocation in active)
            assert row["liability_usd8"] == sum(allocation["liability_usd8"] for allocation in active)
            assert row["premium_unearned"] == sum(allocation["premium"] for allocation in active)
            exposure = Counter[int]()
            for allocation in active:
                exposure[allocation["expiry_burn"]] += allocation["collateral"]
            assert {part["expiry_burn"]: part["amount"] for part in self._where(Exposure, key)} == exposure
        for row in self.all(YieldBalance):
            assert row["claimable"] == row["earned"] + row["credited"] - row["claimed"] >= 0
            key = {"provider": row["provider"], "token": row["token"]}
            assert row["earned"] == sum(part["premium_earned"] for part in self._where(Allocation, key))

    def _assert_policies(self) -> None:
        for row in self.all(PolicyLock):
            every = self._where(Allocation, {"policy": row["policy"]})
            for part in every:
                if part["state"] == "moved":
                    assert part["collateral"] == part["released"]
                    assert (part["premium"], part["paid"], part["premium_earned"]) == (0, 0, 0)
            allocations = sorted((p for p in every if p["state"] != "moved"), key=lambda part: part["place"])
            assert [part["provider"] for part in allocations] == row["providers"]
            assert [part["place"] for part in allocations] == list(range(len(allocations)))
            for column, parts in (
                ("max_payout_usd8", "liability_usd8"),
                ("collateral", "collateral"),
                ("premium_provider", "premium"),
                ("paid", "paid"),
                ("earned", "premium_earned"),
            ):
                assert row[column] == sum(part[parts] for part in allocations), (column, row)
            ended = row["state"] == "closed"
            assert {part["state"] for part in allocations} == {"released" if ended else "active"}
            if ended:
                assert row["premium_provider"] == row["refunded"] + row["earned"]
                assert all(part["collateral"] == part["paid"] + part["released"] for part in allocations)
        for row in self.all(Policy):
            lock = self.one(PolicyLock, row["id"])
            assert lock is not None
            assert (lock["state"] == "locked") == (row["state"] == "active")
            same = ["owner", "tier", "token", "expiry_burn", "max_payout_usd8", "premium", "paid"]
            if not any(part["state"] == "moved" for part in self._where(Allocation, {"policy": row["id"]})):
                same.append("collateral")
            assert {name: row[name] for name in same} == {name: lock[name] for name in same}
            claim = self.one(Claim, row["id"])
            if claim is not None:
                assert claim["owner"] == row["owner"]
                assert claim["approved_usd8"] <= claim["unpaid_usd8"]
                assert row["unpaid_usd8"] <= claim["unpaid_usd8"]
                assert (claim["state"] == "approved") == (claim["approved_usd8"] > 0)
            assert row["premium"] == row["fee_platform"] + row["fee_reserve"] + row["premium_provider"]
        for row in self.all(PolicyTotals):
            policies = self._where(Policy, {"asset": row["asset"]})
            assert row["created"] == len(policies)
            states = Counter(policy["state"].replace("-", "_") for policy in policies)
            for state in ("active", "exercised", "settled_itm", "expired_otm", "cancelled"):
                assert row[state] == states[state], state
            live = [policy for policy in policies if policy["state"] == "active"]
            assert row["notional_sat"] == sum(policy["notional_sat"] for policy in live)
            assert row["max_payout_usd8"] == sum(policy["max_payout_usd8"] for policy in live)
            assert row["premium_usd8"] == sum(policy["premium_usd8"] for policy in policies)
            assert row["payoff_usd8"] == sum(policy["payoff_usd8"] or 0 for policy in policies)
            assert row["unpaid_usd8"] == sum(policy["unpaid_usd8"] for policy in policies)


_CAPITAL = ("available", "locked", "requested", "liability_usd8")
_FLOWS = ("deposited", "withdrawn", "moved_in", "moved_out", "paid_out")
_BUCKETS = ("available", "locked", "unearned", "yield_payable", "platform_fees", "reserve_fees")
