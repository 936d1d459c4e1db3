"""One module per kind of conduct: its published definition, its parameters, its rule."""
