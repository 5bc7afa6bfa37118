"""What x402 pays after a call: permits of `upto`, and channels of `batch-settlement`."""
