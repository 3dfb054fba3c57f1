"""The HTTP side: app, auth, one file per route group."""
