"""The embedded platform without Docker: it serves Nuclio's API for function folders of one machine.

Nothing here imports Django or any other room of this project, so it can be installed alone on a
machine with a GPU. One *supervisor* process serves the dashboard's REST API. Each function has a
*processor* process with its own port. Each processor has as many *worker* processes as the function
file says. Workers run in the function's own Python environment.
"""
