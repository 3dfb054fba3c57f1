"""The only place where features meet labels: point in time, purged."""
