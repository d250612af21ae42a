"""Training of the mask refiner: reinforcement, its rewards, its supervised twin."""
