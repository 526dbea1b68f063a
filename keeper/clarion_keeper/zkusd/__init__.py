"""zkUSD in the keeper: jobs that decide on GraphQL, spells built from what the chain says, and the way to Bitcoin."""
