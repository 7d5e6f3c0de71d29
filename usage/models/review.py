"""The page of the review has its place in the admin's index; nothing of it is stored."""

from typing import ClassVar

from usage.models.ledger import UsageRecord


class Overview(UsageRecord):
    """The usage overview: a proxy. Whoever may view it may read all sums; exports want a permission of their own."""

    class Meta:
        proxy = True
        default_permissions: ClassVar = ("view",)
        permissions: ClassVar = [("export_usage", "Can export usage")]
        verbose_name = "usage overview"
        verbose_name_plural = "usage overview"
