"""Audit entries for what is changed in the Django admin."""

from datetime import datetime
from typing import Any, TypeVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db import models, transaction
from django.db.models import QuerySet
from django.forms.models import _get_foreign_key
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode

from audit.entries import By, differences, record
from audit.models import Door
from core.ids import request_id

M = TypeVar("M", bound=models.Model)

_BEFORE = "_audit_before"


class AuditedAdmin(admin.ModelAdmin[M]):
    """A ModelAdmin whose additions, changes and deletions stand in the audit log, field by field.

    It goes first among several bases. It follows Django's own log of actions, which every page of the admin writes
    within the transaction of its change: so forms, lists, actions and the page for passwords are all heard of.
    """

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        if change:  # the form has changed its object already, so what it was is read anew
            setattr(request, _BEFORE, self._state(request, self.model._base_manager.get(pk=form.instance.pk)))
        return super().save_form(request, form, change)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What the audit log says of this one, field by field; Django's own page for who may not read that log."""
        obj = self.get_object(request, unquote(object_id))
        if obj is None or not self.has_view_permission(request, obj) or not request.user.has_perm("audit.view_entry"):
            return super().history_view(request, object_id, extra_context)
        query = urlencode({"q": resource_id(obj), "resource": str(obj._meta.verbose_name)})
        return HttpResponseRedirect(f"{reverse('admin:audit_entry_changelist')}?{query}")

    def log_addition(self, request: HttpRequest, obj: M, message: Any) -> Any:
        self._record(request, "created", obj, differences({}, self._state(request, obj)))
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: M, message: Any) -> Any:
        before = request.__dict__.pop(_BEFORE, None)
        # Actions and the page for passwords go without a form of ours: then Django's sentence says what was done.
        changes = {"note": [None, str(message)]} if before is None else differences(before, self._state(request, obj))
        if changes:
            self._record(request, "changed", obj, changes)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[M]) -> Any:
        for obj in queryset:
            self._record(request, "deleted", obj, differences(self._state(request, obj), {}))
        return super().log_deletions(request, queryset)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any) -> HttpResponse | None:
        with transaction.atomic():  # Django's pages have one, its actions have not
            return super().response_action(request, queryset, *args)

    def _state(self, request: HttpRequest, obj: M) -> dict[str, Any]:
        """Every field of the page that somebody sets, by name; of the rows on it what they call themselves."""
        rows = {
            str(inline.model._meta.verbose_name_plural): _rows(inline, obj) for inline in self.get_inlines(request, obj)
        }
        return _fields(obj) | rows

    def _record(self, request: HttpRequest, action: str, obj: models.Model, changes: dict[str, Any]) -> None:
        by = By(
            actor=request.user.get_username(),
            door=Door.ADMIN,
            request_id=request_id(request.headers.get("X-Request-ID")),
        )
        record(by, action, str(obj._meta.verbose_name), resource_id(obj), changes)


def resource_id(obj: models.Model) -> str:
    """The name that it has to itself, if its table has such a field, else its number."""
    fields = obj._meta.concrete_fields
    name = next((field.attname for field in fields if field.unique and not field.primary_key), "pk")
    return str(getattr(obj, name))


def _fields(obj: models.Model) -> dict[str, Any]:
    state = {
        field.name: _to_the_second(field.value_from_object(obj))
        for field in obj._meta.concrete_fields
        if not field.primary_key and not getattr(field, "auto_now", False)
    }
    for relation in obj._meta.many_to_many:
        through = relation.remote_field.through
        if through is not None and through._meta.auto_created:  # else its rows have a place of their own
            state[relation.name] = sorted(str(row) for row in getattr(obj, relation.name).all())
    return state


def _to_the_second(value: Any) -> Any:
    """As forms have moments: what only passes through one is no change."""
    return value.replace(microsecond=0) if isinstance(value, datetime) else value


def _rows(inline: Any, obj: models.Model) -> list[str]:
    key = _get_foreign_key(type(obj), inline.model, fk_name=inline.fk_name)
    return sorted(str(row) for row in inline.model._base_manager.filter(**{key.name: obj}))
