"""From an idea to verified code: the workflow of a feature, all of whose state is read from the commits."""
