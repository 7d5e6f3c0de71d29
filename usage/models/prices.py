"""Our own prices."""

from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone

from llm.models import Provider


def _per_million(help_text: str) -> "models.DecimalField[Any, Any]":
    return models.DecimalField(
        max_digits=12, decimal_places=6, null=True, blank=True, validators=[MinValueValidator(0)], help_text=help_text
    )


class Price(models.Model):
    """A price of our own, which goes before the price list. Never changed: a new version follows, the old ones stay.

    Rows in the ledger say which version they were booked by, as `local <id>`.
    """

    model_id = models.CharField("model", max_length=255, help_text="What callers say.")
    provider = models.CharField(
        max_length=32, choices=Provider, blank=True, help_text="Only when it answers there; empty: wherever it does."
    )
    input = _per_million("US dollars per million tokens. Empty together with output: the price list again.")
    cache_read = _per_million("Empty: as input.")
    cache_write = _per_million("Empty: as input.")
    output = _per_million("Reasoning included.")
    valid_from = models.DateTimeField(
        default=timezone.now, help_text="UTC. Calls that are booked already keep their price."
    )
    note = models.CharField(max_length=500, blank=True, help_text="Why, or according to which contract.")
    created_by = models.CharField(max_length=255, blank=True, editable=False)
    created_at = models.DateTimeField("created", auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["model_id", "provider", "-valid_from", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["model_id", "provider", "-valid_from", "-id"], name="usage_price_newest")
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~models.Q(model_id=""), name="usage_price_has_model"),
            models.CheckConstraint(
                condition=models.Q(provider__in=["", *Provider.values]), name="usage_price_provider_known"
            ),
            models.CheckConstraint(
                condition=models.Q(input__isnull=False, output__isnull=False)
                | models.Q(input__isnull=True, output__isnull=True, cache_read__isnull=True, cache_write__isnull=True),
                name="usage_price_whole_or_none",
            ),
            *(
                models.CheckConstraint(
                    condition=models.Q((f"{name}__isnull", True)) | models.Q((f"{name}__gte", 0)),
                    name=f"usage_price_{name}_not_negative",
                )
                for name in ("input", "cache_read", "cache_write", "output")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.version}: {self.model_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("A price is never changed. Add a new one with its own valid_from.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise TypeError("A price is never deleted: the ledger names it. Add a new one that goes before it.")

    @property
    def version(self) -> str:
        return f"local {self.pk}"

    def clean(self) -> None:
        if (self.input is None) != (self.output is None):
            raise ValidationError("Give both input and output, or neither to go back to the price list.")
        if self.input is None and (self.cache_read is not None or self.cache_write is not None):
            raise ValidationError("Give input and output too, or leave all four empty to go back to the price list.")
