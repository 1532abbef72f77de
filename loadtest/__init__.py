"""Loads for a running platform, and what came of them."""
