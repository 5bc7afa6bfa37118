"""The chain: the only room that speaks web3."""
