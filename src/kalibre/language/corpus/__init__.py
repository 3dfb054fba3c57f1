"""The corpus: Turkish text with a source and a licence on every document, cleaned, masked, each text once."""
