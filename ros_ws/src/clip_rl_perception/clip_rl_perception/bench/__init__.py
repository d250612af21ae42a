"""`clip-rl bench`: how fast engines, peers and the node are on this machine, and how far from what it could do."""
