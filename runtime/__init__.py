"""How a process starts, connects, reports and stops; nothing here knows what an image is."""
