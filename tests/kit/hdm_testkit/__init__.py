"""Real, small plug-ins for tests and benchmarks: a cheap network and a reader that fails where it is told to.

The folder above is put on PYTHONPATH; its `.dist-info` registers the entry points, so these are found the way any
stranger's plug-in is, in Ray's workers too.
"""
