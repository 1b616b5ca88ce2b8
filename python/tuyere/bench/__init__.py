"""Benchmarks of whole models against PyTorch eager and its peers: ``python -m tuyere.bench SUITE``.

``models`` says what a suite is; ``text`` and ``vision`` are the suites; ``runners`` are the processes that run a model,
``measure`` gives them turns, ``report`` prints what was found.
"""
