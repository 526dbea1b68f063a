"""Clarion's GraphQL layer: queries and subscriptions over the projections."""
