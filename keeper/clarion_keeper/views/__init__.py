"""What the keeper does, to be seen: GraphQL views and a subscription, metrics, alerts."""
