"""Alerts: what a person has to know, told where they read it. Beside `log`, which it does not import."""
