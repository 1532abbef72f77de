"""What gateway and dispatcher must agree on: events, topics, object keys and tensors; no I/O."""
