from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Two things are called groups: ours, of people who chat, and Django's, which give rights in the admin.

        Migrations know nothing of this name: they look at the one that Django's class was written with.
        """
        from django.contrib.auth.models import Group  # noqa: PLC0415 - no model may be imported before

        Group._meta.verbose_name, Group._meta.verbose_name_plural = "admin role", "admin roles"
