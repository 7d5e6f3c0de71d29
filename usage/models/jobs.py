"""Work that is due at times and that one of all processes does."""

from django.db import models


class ScheduledJob(models.Model):
    """When a job is due next, who has it now, and how it went; a row a job."""

    name = models.CharField(primary_key=True, max_length=64)
    due_at = models.DateTimeField("due")
    taken_until = models.DateTimeField(
        null=True, help_text="A process is at it, and says so again and again; if it dies, another begins anew then."
    )
    done_at = models.DateTimeField("last done", null=True)
    report = models.CharField(max_length=200, blank=True)
    error = models.CharField(max_length=200, blank=True, help_text="Why the last try failed; it is tried again.")

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
