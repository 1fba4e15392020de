"""URLs of the console: pages of functions and requests, standalone and inside CVAT."""

from __future__ import annotations

from django.urls import path

from cvat_lambda.web import function_views, request_views, start_views
from cvat_lambda.web.assets import asset
from cvat_lambda.web.thumbnails import thumbnail

app_name = "console"

urlpatterns = [
    path("requests", request_views.requests, name="requests"),
    path("requests/<str:request_id>", request_views.request_detail, name="request"),
    path("requests/<str:request_id>/live", request_views.request_live, name="request-live"),
    path(
        "requests/<str:request_id>/progress",
        request_views.request_progress,
        name="request-progress",
    ),
    path(
        "requests/<str:request_id>/failures",
        request_views.request_failures,
        name="request-failures",
    ),
    path("requests/<str:request_id>/outcomes.csv", request_views.outcomes_csv, name="outcomes-csv"),
    path(
        "requests/<str:request_id>/outcomes.json", request_views.outcomes_json, name="outcomes-json"
    ),
    path("functions", function_views.functions, name="functions"),
    path("functions/<str:function_id>", function_views.function_detail, name="function"),
    path("functions/<str:function_id>/log", function_views.function_log, name="function-log"),
    path("functions/<str:function_id>/try", function_views.function_trial, name="function-try"),
    path("start", start_views.start, name="start"),
    path("start/functions", start_views.functions, name="start-functions"),
    path("start/functions/<str:function_id>", start_views.function, name="start-function"),
    path("open/<int:task_id>/<int:number>", start_views.open_frame, name="open-frame"),
    path("thumbnails/<int:task_id>/<int:number>", thumbnail, name="thumbnail"),
    path("assets/<slug:version>/<path:name>", asset, name="asset"),
]
