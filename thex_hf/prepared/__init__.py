"""The ``prepared`` protocol: all homomorphic work before the text is known, then plain numbers."""
