"""Every loop that numba compiles, and nothing else; each has a plain twin as its oracle in the tests."""
