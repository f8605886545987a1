"""From a text to tokens, one way for all: training, scores, pipelines and clients without torch.

``texts`` says what is a text, ``limits`` how many tokens there may be, ``tokenise`` makes them,
``words`` finds the tokens of words, ``embedding`` looks up their vectors.
"""
