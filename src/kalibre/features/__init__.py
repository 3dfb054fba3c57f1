"""Feature families, one file each, the kernels they share, and the engine that runs them."""
