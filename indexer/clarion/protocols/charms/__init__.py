"""Every Charms app on Bitcoin: who holds what, where it came from and where it went."""

from clarion.protocols.charms.protocol import protocol

__all__ = ["protocol"]
