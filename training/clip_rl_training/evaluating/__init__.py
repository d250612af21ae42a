"""Running a model over a dataset: the loop, the classes' mapping, worst frames, the corruption benchmark."""
