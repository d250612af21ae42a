"""Pictures that show surgery and pictures that do not, and the classifier that tells them apart."""
