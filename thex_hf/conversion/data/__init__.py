"""Labelled texts from files and data sets: every row is looked at, every fault has a place."""
