"""The routes, one file per group: a file with a `router` is served, documented and tested without being listed."""
