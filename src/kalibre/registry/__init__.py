"""Model versions, aliases and promotion."""
