"""Looks at a frame, and what a stream's looks so far say: the evidence that a mask is made of."""
