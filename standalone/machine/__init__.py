"""What this machine gives every process: free ports, the loopback, a user, this checkout."""
