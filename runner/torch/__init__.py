"""Networks that are modules of PyTorch: built by a person's own code, drawn, stacked, trained and observed.

Nothing here is imported before a configuration says ``architecture=torch``.
"""
