"""What the network is trained with."""
