"""`clip-rl demo`: a bag, the node, a player and a recorder as processes of their own, and a report."""
