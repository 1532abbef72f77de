"""What the platform consists of: how each part is run on this machine, and when it is ready."""
