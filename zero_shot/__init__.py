"""CLIP's zero-shot classification as arithmetic: label sets, prompts and scores; NumPy, no I/O."""
