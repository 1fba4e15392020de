"""Links to tasks and frames: our own pages on the standalone server, CVAT's inside CVAT."""

from __future__ import annotations

from django.urls import NoReverseMatch, reverse


def is_standalone() -> bool:
    """Return whether this server has pages of tasks and frames of its own."""
    try:
        reverse("home")
    except NoReverseMatch:
        return False
    return True


def task_url(task_id: int) -> str:
    """Return the URL of a task's page."""
    if is_standalone():
        return reverse("task", kwargs={"task_id": task_id})
    return f"/tasks/{task_id}"


def frame_url(task_id: int, number: int) -> str:
    """Return the URL of a frame. Inside CVAT a view finds the frame's job and redirects."""
    if is_standalone():
        return reverse("frame", kwargs={"task_id": task_id, "number": number})
    return reverse("console:open-frame", kwargs={"task_id": task_id, "number": number})


def cvat_frame_url(task_id: int, job_id: int, number: int) -> str:
    """Return the URL of a frame in CVAT's annotation view."""
    return f"/tasks/{task_id}/jobs/{job_id}?frame={number}"
