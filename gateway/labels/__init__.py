"""Labels of the caller's own: defined, embedded once a model, and chosen for an image."""
