"""The network made fast and verified: one protocol, one folder per compiled model."""
