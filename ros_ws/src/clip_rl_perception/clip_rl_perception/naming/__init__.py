"""Names of instruments: what close-ups of their working ends say of their types, gathered over the life of a track."""
