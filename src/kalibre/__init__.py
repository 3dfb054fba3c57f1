"""Kalibre learns from a market's live stream and lets no model act before it has proved itself."""

__version__ = "0.1.0"
