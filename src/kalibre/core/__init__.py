"""The vocabulary of the house: bars, events, clock, errors, settings, catalogue, protocols."""
