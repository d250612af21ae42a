"""Teaching the instance head: which line each place lies on, and where instruments' points are."""
