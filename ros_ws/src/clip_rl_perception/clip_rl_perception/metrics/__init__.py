"""Arrays to numbers; definitions in docs/evaluation.md."""
