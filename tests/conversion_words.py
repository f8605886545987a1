"""The words of the toy task: sentiment by single words."""

GOOD, BAD = ["good", "great", "fine", "nice", "lovely"], ["bad", "poor", "dull", "awful", "sad"]
OTHER = ["a", "film", "the", "plot", "very"]
