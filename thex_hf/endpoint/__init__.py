"""A model as a service: what ``thex-hf serve`` and a Hugging Face Inference Endpoint need of it."""
