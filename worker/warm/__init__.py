"""Runs are forked from a warm parent: a process of the worker that has the training libraries loaded and does nothing.

    Celery process - keeper      starts the parent, asks it every 15 s whether it lives, starts the next one
    supervisor     - client      asks it for a run, over a socket; when it has no answer the run starts cold
    parent                       loads, listens, forks; has one thread, no device and no open file of a job
    steward                      forked for each run: stands between parent and run, so that neither needs the other
    launcher                     the run, as `python -m worker.training` would be

The parent knows the program by the name of a module with `load()` and `main(arguments)`. Decision 28 says why.
"""
