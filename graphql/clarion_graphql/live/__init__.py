"""Subscriptions as they are served: over WebSocket and server-sent events, the same work done once for all who ask."""
