package cvat_lambda

import rego.v1

import data.utils

# Who may use the lambda API. The rules of tasks and jobs decide who may view a task or change its
# annotations: the app asks them for each task and job that a call or a request names.
#
# input.scope: "list", "view" (functions), "call:online" (one frame), "call:offline" (requests),
# "list:offline" (the list of requests). input.auth: as CVAT sends it.

default allow := false

allow if {
    utils.is_admin
}

allow if {
    input.scope in {utils.LIST, utils.VIEW}
}

allow if {
    input.scope in {utils.CALL_ONLINE, utils.CALL_OFFLINE, utils.LIST_OFFLINE}
    utils.has_perm(utils.WORKER)
}
