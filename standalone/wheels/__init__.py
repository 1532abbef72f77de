"""Pinned wheels: may they run here, how they are installed, and where their files then lie."""
