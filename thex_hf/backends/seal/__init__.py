"""Backend ``seal``: CKKS by Microsoft SEAL."""
