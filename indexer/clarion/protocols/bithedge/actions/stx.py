"""Native STX behind the face of a token: bh-stx."""

from __future__ import annotations

from typing import Final

from clarion.protocols.bithedge.actions.declaration import SENDER, Action, exactly, no_check

ACTIONS: Final = (
    Action(
        "transfer-stx",
        "bh-stx",
        "transfer",
        "(amt uint) (sender principal) (to principal) (memo (optional (buff 34)))",
        caller="sender, as tx-sender (native rule)",
        about="Sends STX by the token contract of native STX.",
        check=no_check,
        sends=lambda call: [exactly(SENDER, call.state.stx, call["amt"])],
        fills={"sender": (lambda call: call.sender, "the sender")},
        not_asked=("sender",),
        says={
            "sender": "Whose STX they are: the sender.",
            "to": "Who gets them.",
            "memo": "Bytes that are printed with the transfer.",
            "amt": "How much, in micro-STX.",
        },
        is_whole=False,
    ),
)
