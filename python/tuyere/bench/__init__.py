"""Benchmarks of whole models against PyTorch eager and its peers: ``python -m tuyere.bench``.

``models`` builds what is measured, ``runners`` are the processes that run it, ``measure``
gives them turns, ``report`` prints what was found.
"""
