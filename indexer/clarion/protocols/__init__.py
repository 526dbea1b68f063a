"""Protocols that come with Clarion."""
