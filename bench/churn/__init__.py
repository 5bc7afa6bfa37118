"""Accuracy and success while nodes come and go."""
