"""The circuit of the ``client-aided`` protocol: THE-X as published."""
