"""One file per `clip-rl` command, found through the entry-point group clip_rl.commands."""
