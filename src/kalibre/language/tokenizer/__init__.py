"""The tokenizer: Turkish text to at most 32,000 pieces and back, byte for byte."""
