"""Who asks: sign-in with a Stacks wallet, sessions, API keys, scopes and quotas."""
