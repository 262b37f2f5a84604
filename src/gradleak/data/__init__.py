"""Data sets: where the images of clients, training and generators come from."""
