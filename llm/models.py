"""The catalogue of models as data: what a model can do, who may use it, who stands in for it. No endpoints, no keys."""

from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q

from llm.model import EFFORTS, ModelCard


class Provider(models.TextChoices):
    OPENAI = "openai", "OpenAI"
    AZURE = "azure", "Azure OpenAI"
    BEDROCK = "bedrock", "AWS Bedrock"
    ANTHROPIC = "anthropic", "Anthropic"
    GEMINI = "gemini", "Google Gemini"
    COMPATIBLE = "compatible", "OpenAI-compatible"
    EMBEDDED = "embedded", "embedded"


class Thinks(models.TextChoices):
    NOT = "", "does not, or cannot be told to"
    EFFORT = "effort", "by a level of effort"
    BUDGET = "budget", "by a number of tokens"
    ADAPTIVE = "adaptive", "by a level that it adapts"


class Structured(models.TextChoices):
    NATIVE = "native", "by the vendor"
    TOOL = "tool", "by forcing a tool's arguments"
    PROMPT = "prompt", "by asking for it"


# The fields of `llm.model.ModelCard` that stand in the table under the same name.
CARD_FIELDS = (
    *("name", "provider", "vendor_id", "description", "context_window", "output_limit", "system_prompts", "images"),
    *("image_urls", "tools", "sampling", "thinking", "efforts", "structured_output", "system_prompt", "extra"),
)


class ModelEntry(models.Model):
    """One model. What is not in this table is known from the file that comes with the service, if at all."""

    model_id = models.CharField("model", max_length=255, unique=True, help_text="What callers say.")
    name = models.CharField(max_length=255, help_text="What people see.")
    provider = models.CharField(
        max_length=32, choices=Provider, help_text="How it is spoken to and billed; an endpoint that says more wins."
    )
    vendor_id = models.CharField(
        "vendor's id", max_length=255, blank=True, help_text="Where it differs: a deployment or an inference profile."
    )
    description = models.TextField(blank=True)
    context_window = models.PositiveBigIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="Tokens in and out; empty if unknown."
    )
    output_limit = models.PositiveBigIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="Tokens; empty if unknown."
    )
    system_prompts = models.BooleanField("takes system prompts", default=True)
    images = models.BooleanField("sees images", default=True)
    image_urls = models.BooleanField("fetches images from addresses", default=True)
    tools = models.BooleanField("calls tools", default=True)
    sampling = models.BooleanField("takes temperature, top_p and stop", default=True)
    thinking = models.CharField("thinks first", max_length=16, choices=Thinks, blank=True, default="")
    efforts: models.JSONField[list[str], list[str]] = models.JSONField(
        "efforts",
        default=list,
        blank=True,
        help_text=f"What it can be told, of {', '.join(EFFORTS)}, a list; empty: what all that think so can.",
    )
    structured_output = models.CharField(
        "is held to a schema", max_length=16, choices=Structured, default=Structured.NATIVE
    )
    system_prompt = models.TextField(blank=True, help_text="Said before every conversation.")
    extra: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(
        default=dict, blank=True, help_text="Further fields of the vendor's request, an object. No keys, no secrets."
    )
    enabled = models.BooleanField(default=True)
    groups: models.JSONField[list[str], list[str]] = models.JSONField(
        default=list, blank=True, help_text='Who may use it, a list like ["physics"]; empty: everybody.'
    )
    fallback = models.ForeignKey(
        "self",
        to_field="model_id",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="stands_in_for",
        help_text="Answers when this model fails.",
    )
    position = models.PositiveIntegerField(default=0, help_text="Place in lists, lowest first.")
    updated_at = models.DateTimeField("updated", auto_now=True)

    class Meta:
        verbose_name = "model"
        ordering: ClassVar = ["position", "model_id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(model_id=""), name="llm_model_has_id"),
            models.CheckConstraint(condition=Q(provider__in=Provider.values), name="llm_model_provider_known"),
            models.CheckConstraint(condition=Q(thinking__in=Thinks.values), name="llm_model_thinking_known"),
            models.CheckConstraint(
                condition=Q(structured_output__in=Structured.values), name="llm_model_structured_known"
            ),
            models.CheckConstraint(
                condition=Q(context_window__isnull=True) | Q(context_window__gt=0), name="llm_model_window_positive"
            ),
            models.CheckConstraint(
                condition=Q(output_limit__isnull=True) | Q(output_limit__gt=0), name="llm_model_output_positive"
            ),
            models.CheckConstraint(
                condition=Q(fallback__isnull=True) | ~Q(fallback=F("model_id")), name="llm_model_not_its_own_fallback"
            ),
        ]

    def __str__(self) -> str:
        return self.model_id

    @property
    def card(self) -> ModelCard:
        facts = {name: getattr(self, name) for name in CARD_FIELDS}
        return ModelCard(id=self.model_id, **{**facts, "efforts": tuple(self.efforts)})

    def clean(self) -> None:
        self.groups = self.groups or []  # a form's empty field
        self.efforts = self.efforts or []
        self.extra = self.extra or {}
        errors = {
            "groups": _wrong_groups(self.groups),
            "efforts": _wrong_efforts(self.efforts),
            "extra": _wrong_extra(self.extra),
            "fallback": self._wrong_fallback(),
        }
        if found := {name: sentence for name, sentence in errors.items() if sentence}:
            raise ValidationError(found)

    def _wrong_fallback(self) -> str:
        """Follows the fallbacks to their end: none may lead back here."""
        link, met = self.fallback_id, {self.model_id}
        while link is not None:
            if link in met:
                return (
                    f"{link} would be asked again and again: "
                    f"choose a model whose own fallbacks do not lead back to {self.model_id}."
                )
            met.add(link)
            link = ModelEntry.objects.filter(model_id=link).values_list("fallback__model_id", flat=True).first()
        return ""


def _wrong_groups(groups: object) -> str:
    if isinstance(groups, list) and all(isinstance(name, str) and name.strip() for name in groups):
        return ""
    return 'Write a list of group names, like ["physics", "law"], or [] for everybody.'


def _wrong_efforts(efforts: object) -> str:
    if isinstance(efforts, list) and all(effort in EFFORTS for effort in efforts):
        return ""
    return f'Write a list like ["low", "high"], of {", ".join(EFFORTS)}, or [] if you do not know.'


def _wrong_extra(extra: object) -> str:
    return "" if isinstance(extra, dict) else 'Write an object, like {"service_tier": "flex"}, or {} for none.'


class EndpointState(ModelEntry):
    """The admin's page of what this process knows about its endpoints (`llm.pool`). Nothing of it is stored: a proxy,
    so that the page has its place in the admin's index; whoever may view models may view it."""

    class Meta:
        proxy = True
        default_permissions: ClassVar = ()
        verbose_name = "endpoint"


class Role(models.TextChoices):
    """What a model is asked for when nobody names one (llm-providers: model types)."""

    DEFAULT = "default", "default"
    ADVANCED = "advanced", "advanced"
    CHEAPEST = "cheapest", "cheapest"
    DOCUMENT_CACHING = "document_caching", "document caching"


class DefaultModel(models.Model):
    """The model of one role. Roles without one fall back: advanced and cheapest to default, caching to cheapest."""

    role = models.CharField(max_length=32, choices=Role, unique=True)
    model = models.ForeignKey(ModelEntry, to_field="model_id", on_delete=models.PROTECT, related_name="roles")

    class Meta:
        verbose_name = "default model"
        ordering: ClassVar = ["role"]
        constraints: ClassVar = [models.CheckConstraint(condition=Q(role__in=Role.values), name="llm_role_known")]

    def __str__(self) -> str:
        return f"{self.role}: {self.model_id}"

    def clean(self) -> None:
        entry = ModelEntry.objects.filter(model_id=self.model_id).first()
        if entry is not None and not entry.enabled:
            raise ValidationError({"model": f"{entry} is disabled. Enable it first, or choose another model."})
