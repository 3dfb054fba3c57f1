"""Model families, one file each, and the bundle that carries a model to where it acts."""
