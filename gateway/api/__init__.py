"""The REST side of the gateway."""
