"""Nodes as processes of one run: started, watched, and ended for certain. Demo and online replay use it."""
