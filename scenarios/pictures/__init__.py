"""The pictures of the scenarios that have some of their own; what they share is in `drawing`."""
