"""The routes that are not paid calls, by what they are about."""
