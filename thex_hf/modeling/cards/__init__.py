"""The model card: written at every save, its measured part kept fresh."""
