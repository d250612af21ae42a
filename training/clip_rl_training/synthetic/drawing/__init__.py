"""Fields, outlines and pictures that scenes are drawn of."""
