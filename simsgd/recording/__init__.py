"""Recording: a SimPy event loop plays time and writes the tape. No gradient is computed here, and JAX is not needed."""
