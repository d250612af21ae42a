"""What a training is given, by search: a controller proposes, a short training answers on development frames."""
