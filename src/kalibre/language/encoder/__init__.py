"""The project's own Turkish encoder: its layers, its pretraining, its heads, and the ONNX that ships without torch."""
