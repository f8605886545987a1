"""From a text to tokens, one way for all: training, scores, pipelines and clients without torch.

``texts`` says what is a text and which tokens are a word's, ``options`` how many tokens there may
be, ``tokenise`` makes them and their embeddings, ``windows`` cuts what is too long.
"""
