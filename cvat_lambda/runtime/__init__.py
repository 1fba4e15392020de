"""The embedded, Docker-free platform: serves Nuclio's API for the function folders of one machine.

Nothing here imports Django or any other room of this project: it can be installed alone, on a
machine with a GPU. A *supervisor* process carries the dashboard's REST API; each function has a
*processor* process with a port of its own; each processor has as many *worker* processes as the
function asks for, in the function's own Python environment.
"""
