"""What a provider runs."""
