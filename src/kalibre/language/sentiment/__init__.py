"""Which way a text pushes the price of the asset it is about, and how sure that is."""
