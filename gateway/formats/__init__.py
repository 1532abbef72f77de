"""The allowed image types: bytes come in, size, way up and a stripped copy of them go out."""
