"""The hub's page: HTML, CSS, scripts and words. It speaks to the API like any other client, and holds no Python."""
