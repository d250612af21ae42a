"""Hours of hard use: the node as processes that are killed, files of every kind with damage of every kind."""
