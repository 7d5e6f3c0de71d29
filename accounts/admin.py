"""Users, and what `STATE_BACKEND=database` keeps of them: API keys, groups, accounts. With another backend those tables
are empty and nobody reads them, so their pages are not there."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import admin as django_admin
from django.contrib.auth import models as django_models
from django.db.models import Count, ManyToManyField, Model, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from accounts.limits import MICRO
from accounts.models import Account, ApiKey, Group, Inclusion, Limited, Membership, User
from audit.audited import AuditedAdmin

# A form has a thousand fields at most (DATA_UPLOAD_MAX_NUMBER_FIELDS), and a page that people can read has fewer.
MOST_INLINE = 200


class LimitForm(forms.ModelForm[Any]):
    """A row with a spend limit, which people give in dollars."""

    dollars = forms.DecimalField(
        label="limit, $",
        required=False,
        min_value=0,
        max_digits=15,
        decimal_places=6,
        help_text="US dollars that may be spent in a period. Empty for no limit.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        limit = self.instance.limit
        if limit is not None:
            self.initial["dollars"] = (Decimal(limit.micro_dollars) / MICRO).normalize()

    def clean(self) -> dict[str, Any]:
        facts = super().clean() or self.cleaned_data
        dollars = facts.get("dollars")
        if bool(facts.get("limit_period")) != (dollars is not None) and not self.has_error("dollars"):
            raise forms.ValidationError("A limit needs both a period and an amount, or neither.")
        # Both here: of a field that was not sent at all, Django would keep the old value.
        self.instance.limit_period = facts.get("limit_period") or ""
        self.instance.limit_micro_dollars = None if dollars is None else int(dollars * MICRO)
        return facts


class LimitedAdmin(AuditedAdmin[Any]):
    form = LimitForm
    show_full_result_count = False

    @admin.display(description="limit")
    def limit_text(self, row: Limited) -> str:
        limit = row.limit
        return f"${Decimal(limit.micro_dollars) / MICRO:,.2f} {limit.period}" if limit else "none"


class ApiKeyAdmin(LimitedAdmin):
    """Keys can be made, renamed, limited, given an expiry, rotated and revoked. The key itself is shown once."""

    list_display = ("__str__", "owner", "acts_as", "account_id", "limit_text", "active", "expires_at", "last_used_at")
    list_filter = ("active",)
    search_fields = ("name", "owner", "delegate", "system_id", "account_id", "api_owner_id")
    actions = ("rotate", "revoke")
    fieldsets: ClassVar = [
        (None, {"fields": ("api_owner_id", "name", "description", "active", "expires_at")}),
        ("Who", {"fields": ("owner", "delegate", "system_id")}),
        ("What it may do", {"fields": ("access_types",)}),
        ("Who pays", {"fields": ("account_id", "account_name", "limit_period", "dollars")}),
        ("Its life", {"fields": ("created_at", "last_used_at", "purpose")}),
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        # The public name, under which the ledger knows the key, says whose it is: that does not change.
        fixed = () if obj is None else ("owner", "delegate", "system_id")
        # What is revoked stays so, also when a form is sent that has been open since before.
        if isinstance(obj, ApiKey) and not obj.active:
            fixed += ("active",)  # type: ignore[assignment]
        return ("api_owner_id", "created_at", "last_used_at", *fixed)

    @admin.display(description="acts as")
    def acts_as(self, key: ApiKey) -> str:
        return key.delegate or key.system_id or key.owner

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        self._show(request, obj, obj.issue())

    @admin.action(description="Rotate selected keys: make new ones, end the old ones", permissions=["change"])
    def rotate(self, request: HttpRequest, chosen: QuerySet[ApiKey]) -> None:
        for key in chosen:
            self._show(request, key, key.rotate())
            self.log_change(request, key, "Rotated.")

    @admin.action(description="Revoke selected keys", permissions=["change"])
    def revoke(self, request: HttpRequest, chosen: QuerySet[ApiKey]) -> None:
        good = list(chosen.filter(active=True))
        for key in good:
            key.active = False
            key.save(update_fields=["active"])  # one by one: each save tells who remembers keys
            self.log_change(request, key, "Revoked.")
        self.message_user(request, f"{len(good)} key(s) revoked.", messages.SUCCESS)

    def _show(self, request: HttpRequest, row: ApiKey, key: str) -> None:
        self.message_user(request, f"{row}: copy this key now, it is not shown again: {key}", messages.WARNING)


class _Members(admin.TabularInline[Membership, Group]):
    model = Membership
    fields = ("user_id", "role")
    extra = 1


class _Inclusions(BaseInlineFormSet[Any, Any, Any]):
    """Reads the groups that can be included once, and not once a line."""

    _choices: Sequence[Any] | None = None

    def add_fields(self, form: Any, index: Any) -> None:
        super().add_fields(form, index)
        field = form.fields["included"]
        if self._choices is None:
            self._choices = list(field.choices)
        field.choices = self._choices


class _Includes(admin.TabularInline[Inclusion, Group]):
    model = Inclusion
    fk_name = "group"
    formset = _Inclusions
    extra = 1
    verbose_name_plural = "includes the members of"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Inclusion]:
        every: QuerySet[Inclusion] = super().get_queryset(request)
        return every.select_related("group", "included")


class GroupAdmin(LimitedAdmin):
    """Groups with their members; those of a large group have a page of their own."""

    list_display = ("group_id", "name", "kind", "member_count", "is_public", "is_billing_group", "limit_text")
    list_filter = ("kind", "is_public", "is_billing_group")
    search_fields = ("group_id", "name", "created_by")
    fieldsets: ClassVar = [
        (None, {"fields": ("group_id", "name", "kind", "created_by", "all_members")}),
        ("Assistant groups", {"fields": ("is_public", "system_users")}),
        ("Amplify groups", {"fields": ("is_billing_group", "limit_period", "dollars")}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        members = Membership.objects.filter(group=OuterRef("pk")).order_by().values("group")
        counted = members.annotate(members=Count("pk")).values("members")
        every: QuerySet[Group] = super().get_queryset(request)
        return every.annotate(member_count=Coalesce(Subquery(counted), 0))

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        return ("all_members",) if obj is None else ("group_id", "kind", "all_members")

    def get_inlines(self, request: HttpRequest, obj: Group | None) -> list[Any]:
        large = obj is not None and getattr(obj, "member_count", 0) > MOST_INLINE
        return [_Includes] if large else [_Members, _Includes]

    @admin.display(description="members")
    def member_count(self, group: Any) -> int:
        return int(group.member_count)

    @admin.display(description="members")
    def all_members(self, group: Any) -> str:
        if group.pk is None:
            return "Add them below."
        url = reverse("admin:accounts_membership_changelist")
        return format_html('<a href="{}?group__id__exact={}">{}</a>', url, group.pk, group.member_count)


class MembershipAdmin(AuditedAdmin[Membership]):
    """Who is in which group; for groups that are too large for one page."""

    list_display = ("user_id", "group", "role")
    list_filter = ("role",)
    list_select_related = ("group",)
    search_fields = ("user_id", "group__group_id", "group__name")
    autocomplete_fields = ("group",)
    show_full_result_count = False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup == "group__id__exact" or super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        for membership in queryset.select_related("group"):
            membership.delete()  # one by one: each makes a new state of its group


class AccountAdmin(LimitedAdmin):
    """Which accounts a user may charge, and which one pays unless they say otherwise."""

    list_display = ("user_id", "account_id", "name", "is_default", "limit_text")
    list_filter = ("is_default",)
    search_fields = ("user_id", "account_id", "name")
    fields = ("user_id", "account_id", "name", "is_default", "position", "limit_period", "dollars")


class RoleAdmin(AuditedAdmin[django_models.Group], django_admin.GroupAdmin):
    """Django's groups, which give rights in the admin (`accounts.apps` names them), with their changes written down."""


class _RoleFilter(admin.RelatedFieldListFilter):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "admin role"


class PersonAdmin(AuditedAdmin[User], django_admin.UserAdmin[User]):
    """Django's own page, with its changes written down. Names stay: keys, groups and the books know people by them."""

    list_filter = ("is_staff", "is_superuser", "is_active", ("groups", _RoleFilter))

    def formfield_for_manytomany(self, db_field: ManyToManyField[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "groups":
            kwargs |= {"label": "Admin roles", "help_text": "This user has the permissions of each of these roles too."}
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        fixed = super().get_readonly_fields(request, obj)  # type: ignore[arg-type]
        return fixed if obj is None else (*fixed, "username")


admin.site.register(User, PersonAdmin)
admin.site.unregister(django_models.Group)
admin.site.register(django_models.Group, RoleAdmin)
if settings.STATE_BACKEND == "database":
    admin.site.register(ApiKey, ApiKeyAdmin)
    admin.site.register(Group, GroupAdmin)
    admin.site.register(Membership, MembershipAdmin)
    admin.site.register(Account, AccountAdmin)
