"""What `clip-rl fuzz` damages of data sets."""
