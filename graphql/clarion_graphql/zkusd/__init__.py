"""How the API shows zkUSD: vaults, stability pool, prices, and what follows from them."""
