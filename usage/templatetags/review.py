"""Numbers in the review's templates."""

from django import template

from usage.review import shown

register = template.Library()
register.filter("money", shown.money)
register.filter("thousands", shown.whole)
