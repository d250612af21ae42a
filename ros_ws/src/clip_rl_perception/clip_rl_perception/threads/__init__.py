"""Background threads: reading ahead, working off a queue, giving way."""
