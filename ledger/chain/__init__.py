"""The chain: the only package that speaks to it, through web3."""
