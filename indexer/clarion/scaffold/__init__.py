"""``clarion new-protocol``: a working start of a protocol package, from what a contract has and has said.

``samples`` finds the contract's interface and recent events, ``shapes`` infers the types of what it prints, ``render``
writes the package.
"""
