"""Compares every projected row with what the contracts themselves answer at the same tip."""

from __future__ import annotations

from typing import Any

from psycopg import Connection
from psycopg.rows import dict_row

from clarion.chains.stacks.clarity import StringAscii, UInt, Value, principal
from clarion.dev.world import WorldReader


class Disagreements(list[str]):
    """What differs, in words."""

    def compare(self, what: str, row: dict[str, Any], answer: dict[str, Any], **renamed: str) -> None:
        for field, value in answer.items():
            column = renamed.get(field, field.replace("-", "_"))
            if column not in row:
                self.append(f"{what}: no column for {field}")
            elif row[column] != value:
                self.append(f"{what}: {column} is {row[column]!r}, the contract says {value!r}")


async def disagreements(connection: Connection[Any], reader: WorldReader) -> tuple[Disagreements, int]:
    """What the index and the contracts say differently, and how many rows were compared."""
    found = Disagreements()
    compared = 0

    def rows(table: str, where: str = "true") -> list[dict[str, Any]]:
        nonlocal compared
        cursor = connection.cursor(row_factory=dict_row)
        got = cursor.execute(f"SELECT * FROM bithedge.{table} WHERE {where}").fetchall()
        compared += len(got)
        return got

    async def ask(contract: str, function: str, *arguments: Value) -> Any:
        return await reader.ask(contract, function, *arguments)

    for row in rows("parameter"):
        found.compare(f"parameter {row['key']}", row, await ask("bh-params", "get-param-row", StringAscii(row["key"])))
    for row in rows("tier"):
        found.compare(f"tier {row['name']}", row, await ask("bh-params", "get-tier", StringAscii(row["name"])))
    for row in rows("token"):
        found.compare(f"token {row['token']}", row, await ask("bh-params", "get-token", principal(row["token"])))
    for row in rows("fee_shares"):
        found.compare("fee shares", row, await ask("bh-params", "get-fees"))
    for row in rows("role"):
        answer = await ask("bh-registry", "get-role", StringAscii(row["role"]), principal(row["who"]))
        found.compare(f"role {row['role']}", row, answer)
    for row in rows("module"):
        answer = await ask("bh-registry", "get-module", StringAscii(row["module"]), UInt(row["version"]))
        answer["code-hash"] = f"0x{answer['code-hash'].hex()}"
        found.compare(f"module {row['module']}", row, answer)
    for row in rows("asset"):
        answer = await ask("bh-oracle", "get-asset", StringAscii(row["asset"]))
        found.compare(f"asset {row['asset']}", row, answer)
    for row in rows("price_round", "state = 'closed'"):
        where = (StringAscii(row["asset"]), UInt(row["round"]))
        found.compare(f"round {row['asset']} {row['round']}", row, await ask("bh-oracle", "get-round", *where))
        submissions = await ask("bh-oracle", "get-submissions", *where)
        for submission, submitted in zip(
            submissions,
            rows("price_submission", f"asset = '{row['asset']}' AND round = {row['round']} ORDER BY place"),
            strict=True,
        ):
            found.compare(f"submission to {row['asset']} {row['round']}", submitted, submission)
    for row in rows("expiry_price"):
        answer = await ask("bh-oracle", "get-expiry-price", StringAscii(row["asset"]), UInt(row["expiry_burn"]))
        found.compare(f"expiry price {row['asset']} {row['expiry_burn']}", row, answer)
    for row in rows("position"):
        where_is = (principal(row["provider"]), StringAscii(row["tier"]), principal(row["token"]))
        found.compare(
            f"position {row['provider']} {row['tier']}", row, await ask("bh-vault", "get-position", *where_is)
        )
    for row in rows("exposure"):
        answer = await ask(
            "bh-vault",
            "get-exposure",
            principal(row["provider"]),
            StringAscii(row["tier"]),
            principal(row["token"]),
            UInt(row["expiry_burn"]),
        )
        found.compare(f"exposure {row['provider']} {row['expiry_burn']}", row, {"amount": answer})
    for row in rows("tier_pool"):
        answer = await ask("bh-vault", "get-pool", StringAscii(row["tier"]), principal(row["token"]))
        found.compare(f"pool {row['tier']} {row['token']}", row, answer)
    for row in rows("token_pool"):
        answer = await ask("bh-vault", "get-buckets", principal(row["token"]))
        found.compare(f"buckets {row['token']}", row, answer, **{"yield": "yield_payable"})
    for row in rows("yield_balance"):
        answer = await ask("bh-vault", "get-yield", principal(row["provider"]), principal(row["token"]))
        found.compare(f"yield {row['provider']}", row, {"claimable": answer})
    for row in rows("provider"):
        answer = await ask("bh-vault", "is-auto-match", principal(row["provider"]))
        found.compare(f"provider {row['provider']}", row, {"auto-match": answer})
    for row in rows("withdraw_request", "state = 'pending'"):
        answer = await ask("bh-vault", "get-request", UInt(row["id"]))
        found.compare(f"request {row['id']}", row, answer, amt="amount")
    for row in rows("policy"):
        answer = await ask("bh-policy", "get-policy", UInt(row["id"]))
        found.compare(f"policy {row['id']}", row, answer, **{"created-stacks": "created_height"})
    for row in rows("policy_lock"):
        answer = await ask("bh-vault", "get-lock", UInt(row["policy"]))
        if row["state"] == "closed":
            found.extend([f"lock {row['policy']} is closed, the contract has {answer!r}"] if answer else [])
            continue
        allocations = answer.pop("allocations")
        found.compare(f"lock {row['policy']}", row, answer, premium="premium_provider")
        for allocation, covered in zip(
            allocations, rows("allocation", f"policy = {row['policy']} ORDER BY place"), strict=True
        ):
            found.compare(f"allocation of {row['policy']}", covered, allocation)
    for row in rows("fund_holding"):
        answer = await ask("bh-fund", "get-holding", principal(row["token"]))
        answer["state"] = await ask("bh-fund", "get-state", principal(row["token"]))
        found.compare(f"fund holding {row['token']}", row, answer)
    for row in rows("fund_cover"):
        answer = await ask("bh-fund", "get-cover", StringAscii(row["tier"]), principal(row["token"]))
        found.compare(f"fund cover {row['tier']}", row, answer)
    for row in rows("recovery_plan"):
        found.compare(f"recovery plan {row['id']}", row, await ask("bh-fund", "get-plan", UInt(row["id"])))
    for row in rows("margin_call", "state = 'open'"):
        where_is = (principal(row["provider"]), StringAscii(row["tier"]), principal(row["token"]))
        answer = await ask("bh-liquidation", "get-call", *where_is)
        found.compare(f"margin call {row['id']}", row, answer, call="id")
    for row in rows("treasury_holding"):
        answer = await ask("bh-treasury", "get-holdings", principal(row["token"]))
        found.compare(f"treasury {row['token']}", row, answer)
    for row in rows("treasury_share"):
        answer = await ask("bh-treasury", "get-share", principal(row["receiver"]), principal(row["token"]))
        found.compare(f"share of {row['receiver']}", row, {"amount": answer})
    allocated = rows("treasury_allocation")
    for row, answer in zip(
        sorted(allocated, key=lambda row: int(row["rank"])), await ask("bh-treasury", "get-allocations"), strict=True
    ):
        found.compare(f"allocation {row['name']}", row, answer)
    for row in rows("program_fund"):
        answer = await ask("bh-treasury", "get-program-funds", UInt(row["program"]), principal(row["token"]))
        found.compare(f"funds of programme {row['program']}", row, {"amount": answer})
    for row in rows("fee_discount"):
        found.compare(f"discount of {row['who']}", row, await ask("bh-treasury", "get-discount", principal(row["who"])))
    for row in rows("program"):
        found.compare(f"programme {row['id']}", row, await ask("bh-incentives", "get-program", UInt(row["id"])))
    for row in rows("program_epoch"):
        answer = await ask("bh-incentives", "get-epoch", UInt(row["program"]), UInt(row["epoch"]))
        name = f"epoch {row['epoch']} of programme {row['program']}"
        if row["state"] == "voided":
            found.extend([f"{name} is voided, the contract has {answer!r}"] if answer else [])
            continue
        answer["root"] = f"0x{answer['root'].hex()}"
        answer["state"] = "closed" if answer.pop("closed") else "posted"
        found.compare(name, row, answer)
    for row in rows("reward"):
        key = (UInt(row["program"]), UInt(row["epoch"]), principal(row["who"]))
        answer = await ask("bh-incentives", "get-claimed", *key)
        found.compare(f"reward of {row['who']}", row, {"claimed": answer})
    for row in rows("contract_sequence"):
        answer = await ask(row["contract"].partition(".")[2], "get-seq")
        found.compare(f"sequence of {row['contract']}", row, {"last-seq": answer, "missing": 0})
    return found, compared
