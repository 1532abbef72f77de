"""The dispatcher: image events in, Triton asked, labels out; it keeps no state of its own."""
