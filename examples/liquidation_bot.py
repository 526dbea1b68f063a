"""A liquidation bot that anybody can run: positions of BitHedge that fail are called on, and the fund takes them over.

    python examples/liquidation_bot.py http://127.0.0.1:8000/graphql http://127.0.0.1:20443 testnet bot.key

It reads through GraphQL alone, has transactions prepared there, signs them with the key in the file (hexadecimal) and
sends them to a Stacks node. Whoever calls `liquidate` earns a bounty; where that is less than the fees, the position is
left alone. It keeps nothing: it looks afresh at every block, and waits while a transaction of its own is in none yet.
"""

import sys
from pathlib import Path
from typing import Any

import httpx

from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.signing import sign
from clarion.chains.stacks.transactions import decode_transaction

STATE = """query Failing($sender: String!) {
  parameter(key: "liquidation-bounty-bp") { value }
  modules(filter: {module: {eq: "fund"}, state: {eq: "active"}}) { nodes { contract } }
  tokens(filter: {active: {eq: true}}) { nodes { token decimals asset } }
  stx: price(asset: "STX") { priceUsd8 }
  marginCalls(filter: {state: {eq: "open"}}, first: 500) { nodes { provider tier token level } }
  trackedTransactions(sender: $sender, first: 100) { status } }"""
FAILING = """query Positions($token: String!, $asset: String!) {
  price(asset: $asset) { priceUsd8 }
  liquidatablePositions(token: $token, below: WARNING, first: 200) { provider tier token } }"""
BACKED = """query Backed($provider: String!, $tier: String!, $token: String!) {
  allocations(first: 100, orderBy: [{field: LIABILITY_USD8, direction: DESC}], filter: {state: {eq: "active"},
    provider: {eq: $provider}, tier: {eq: $tier}, token: {eq: $token}}) { nodes { policyId collateral } } }"""
PREPARE = "mutation($i: Prepare%sInput!) { made: prepare%s(input: $i) { id transaction fee nonce simulation { ok } } }"
TRACK = "mutation Track($tx: Bytes!, $id: String!) { trackTx(txId: $tx, preparedId: $id) { status } }"
BLOCKS = "subscription Blocks { blocks { sequence } }"
AS_BYTES, AS_EVENTS = {"content-type": "application/octet-stream"}, {"accept": "text/event-stream"}


class Bot:
    """One account that liquidates."""

    def __init__(self, graphql: str, node: str, network: str, key_file: str) -> None:
        self.graphql, self.node, self.http = graphql, node, httpx.Client(timeout=30)
        self.key = PrivateKey.from_hex(Path(key_file).read_text(encoding="ascii").strip())
        self.address = str(self.key.address(Network(network)))
        self.next_nonce: int | None = None

    def ask(self, query: str, **variables: Any) -> Any:
        """A document's data."""
        answer = self.http.post(self.graphql, json={"query": query, "variables": variables}).json()
        if answer.get("errors"):
            raise RuntimeError(answer["errors"][0]["message"])
        return answer["data"]

    def look(self) -> None:
        """Do what is due at the tip."""
        found, self.next_nonce = self.ask(STATE, sender=self.address), None
        if any(sent["status"] in ("BROADCAST", "MEMPOOL") for sent in found["trackedTransactions"]):
            return
        levels = {(c["provider"], c["tier"], c["token"]): c["level"] for c in found["marginCalls"]["nodes"]}
        fund, bounty_bp = found["modules"]["nodes"][0]["contract"], int(found["parameter"]["value"])
        for token in found["tokens"]["nodes"]:
            failing = self.ask(FAILING, token=token["token"], asset=token["asset"])
            if failing["price"] is None or found["stx"] is None:
                continue
            # what the caller gets of a whole token of collateral, in micro-STX x 10^4
            rate = bounty_bp * int(failing["price"]["priceUsd8"]) * 10**6 // int(found["stx"]["priceUsd8"])
            for position in failing["liquidatablePositions"]:
                level = levels.get(tuple(position.values()))
                backed = self.ask(BACKED, **position)["allocations"]["nodes"]
                bounties = [int(one["collateral"]) * rate // 10 ** (4 + token["decimals"]) for one in backed]
                if level != "hard":  # what comes before a liquidation pays nothing by itself
                    self.act("EscalateMarginCall" if level else "IssueMarginCall", sum(bounties) // 3, **position)
                for one, bounty in zip(backed, bounties, strict=True) if level == "hard" else ():
                    if self.act("Liquidate", bounty, policy=one["policyId"], provider=position["provider"], taker=fund):
                        break  # one of a position in a block: it may be safe without, which no simulation knows yet

    def act(self, name: str, worth: int, **given: Any) -> bool:
        """Send an action that would succeed and whose fee is below ``worth``, in micro-STX; whether a node took it."""
        wanted = {**given, "nonce": self.next_nonce, "publicKey": f"0x{self.key.public_key.hex()}"}
        made = self.ask(PREPARE % (name, name), i=wanted)["made"]
        if not made["simulation"]["ok"] or not 0 < int(made["fee"]) < worth:
            return False
        signed = sign(decode_transaction(bytes.fromhex(made["transaction"][2:])), self.key)
        answer = self.http.post(f"{self.node}/v2/transactions", content=signed.encode(), headers=AS_BYTES)
        print(name, given, answer.text.strip(), flush=True)
        if answer.is_success:
            self.next_nonce = int(made["nonce"]) + 1
            self.ask(TRACK, tx=f"0x{signed.txid.hex()}", id=made["id"])
        return answer.is_success


if __name__ == "__main__":
    bot = Bot(*sys.argv[1:5])
    with bot.http.stream("POST", f"{bot.graphql}/stream", json={"query": BLOCKS}, headers=AS_EVENTS, timeout=None) as s:
        for line in s.iter_lines():
            if line.startswith("data: {"):
                bot.look()
