"""The training loop: configuration, curriculum, one batch, state, validation, finish."""
