"""Replaying: compiled JAX reads the tape and computes every gradient and update in its order. It knows no time."""
