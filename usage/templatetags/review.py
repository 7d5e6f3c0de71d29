"""Numbers in the review's templates."""

from django import template

from usage.review import shown

register = template.Library()
register.filter("money", shown.money)


@register.filter
def thousands(number: int) -> str:
    """1,234,567."""
    return f"{number:,}"
