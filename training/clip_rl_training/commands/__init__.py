"""One file per `clip-rl` command of the training package."""
