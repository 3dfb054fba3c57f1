"""The optional extra `builtin:gemma`: adapters and heads on Gemma 3 270M, under the Gemma Terms of Use."""
