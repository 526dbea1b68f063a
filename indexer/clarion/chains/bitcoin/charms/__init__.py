"""Charms: programmable assets in Bitcoin transactions, as spells write them."""
