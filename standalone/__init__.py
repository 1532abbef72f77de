"""Standalone: wheels come in, and the whole platform runs on this machine as separate processes."""
