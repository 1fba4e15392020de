"""Queries whose SQL is built once: they return what the ORM returns."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Q
from django.forms.models import model_to_dict
from django.test.utils import CaptureQueriesContext

from cvat_lambda.engine.standalone.models import AccessToken
from cvat_lambda.functions.models import Function
from cvat_lambda.prepared import PreparedQuery

BY_OWNER: PreparedQuery[Function] = PreparedQuery(
    lambda owner: Function.objects.filter(owner_id=owner).select_related("owner").order_by("id"),
    int,
)
BY_ID: PreparedQuery[Function] = PreparedQuery(
    lambda name: Function.objects.filter(id=name).select_related("owner").defer("message"), str
)
OF_USER: PreparedQuery[tuple[object, ...]] = PreparedQuery(
    lambda user, kind: (
        AccessToken.objects.filter(user_id=user, kind=kind)
        .values_list("name", "read_only", "created_at", "expires_at", "user__username")
        .order_by("name")
    ),
    int,
    str,
)


def function(name: str, owner: User | None = None) -> Function:
    """A function with values of many types."""
    row: Function = Function.objects.create(
        id=name,
        platform="endpoint",
        kind="detector",
        owner=owner,
        timeout_s=2.5,
        private=True,
        metadata={"metadata": {"name": name, "numbers": [1, 2.5, None]}},
    )
    return row


def test_instances_have_the_values_of_the_orm(alice: User, bob: User) -> None:
    rows = [function("a", alice), function("b", alice)]
    function("c", bob)
    for _ in range(2):  # the first call builds the SQL
        found = BY_OWNER.rows(alice.pk)
        assert found == rows
        for one, wanted in zip(found, Function.objects.filter(owner=alice), strict=True):
            assert model_to_dict(one) == model_to_dict(wanted)
            assert one.seen_at == wanted.seen_at
            one.save()  # an UPDATE, since the row exists
            assert Function.objects.count() == 3


def test_related_rows_are_loaded_with_the_instances(alice: User) -> None:
    function("mine", alice)
    function("ours")
    with CaptureQueriesContext(connection) as queries:
        mine, ours = BY_ID.first("mine"), BY_ID.first("ours")
        assert mine is not None
        assert ours is not None
        assert (mine.owner, ours.owner) == (alice, None)
    assert len(queries) == 2
    assert mine.get_deferred_fields() == {"message"}


def test_row_that_does_not_exist_is_none(db: None) -> None:
    assert BY_ID.first("nothing") is None
    assert BY_OWNER.rows(0) == []
    assert BY_OWNER.rows(2**63) == []  # more than a column of the database holds


def test_values_are_of_the_types_of_python(alice: User) -> None:
    token, _ = AccessToken.create(alice, name="t")
    assert OF_USER.rows(alice.pk, "personal") == [
        ("t", False, token.created_at, None, alice.username)
    ]
    assert OF_USER.rows(alice.pk, "login") == []


def test_query_that_changes_its_argument_is_refused(db: None) -> None:
    query: PreparedQuery[Function] = PreparedQuery(
        lambda part: Function.objects.filter(id__icontains=part), str
    )
    with pytest.raises(ValueError, match="passes its arguments to the database unchanged"):
        query.rows("a")


def test_list_of_numbers_selects_the_rows_of_its_members(alice: User, bob: User) -> None:
    first, second = function("a", alice), function("b", bob)
    function("c")
    query: PreparedQuery[Function] = PreparedQuery(
        lambda owners, others: Function.objects.filter(
            Q(owner_id__in=owners) | Q(owner_id__in=others)
        ).order_by("id"),
        list,
        list,
    )
    assert query.rows([alice.pk, bob.pk], []) == [first, second]
    assert query.rows([2**70, bob.pk], [bob.pk]) == [second]
    assert query.rows([], []) == []


def test_list_for_another_lookup_than_in_is_refused(db: None) -> None:
    query: PreparedQuery[Function] = PreparedQuery(
        lambda owners: Function.objects.filter(owner_id__gt=owners[0]), list
    )
    with pytest.raises(ValueError, match="a list only for the lookup 'in'"):
        query.rows([1])
