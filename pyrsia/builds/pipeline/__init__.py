"""The original's HTTP build pipeline as a backend: a server of the operator's builds, we ask, wait, fetch and look.

plugin    the six verbs           contract    the three addresses of the pipeline
"""
