"""Solves with M = Λ'Z'WZΛ + I: the protocol, and the direct solver by blocked elimination."""
