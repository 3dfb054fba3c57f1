"""Answering: find the passage, read the span, cite it, and say nothing when unsure."""
