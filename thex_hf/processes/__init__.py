"""Forked children: they share this process's memory, so keys and weights are not copied.

``channel`` carries messages, ``child`` starts, hears and ends one child, ``pool`` hands
numbered jobs to several. Nothing here knows what is computed. Messages are msgpack: what a
child sends is data and never code.
"""
