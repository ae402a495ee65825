"""The fork server of tests that kill processes, with what those import already in it, so that a kill costs a fork.

There is one a process, and the last list that it is given wins: hence one for all tests.
"""

import multiprocessing

__all__ = ["FORKS"]

FORKS = multiprocessing.get_context("forkserver")
# The last is what the store imports with its first point: 1.5 s, longer than any run that is killed.
FORKS.set_forkserver_preload(
    ["tests.encoders.test_cache", "tests.indexing.test_kill", "llama_index.core.vector_stores.utils"]
)
