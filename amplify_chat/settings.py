"""Django's settings, made from `amplify_chat.env`."""

from pathlib import Path
from typing import Any

import dj_database_url
import django_stubs_ext

from amplify_chat.env import BASE_DIR, read_env
from amplify_chat.secret import secret_key
from core.logs import configure_logs

django_stubs_ext.monkeypatch()  # lets `ModelAdmin[Model]` stand in a class header

ENV = read_env()
configure_logs(ENV.log_level)

DEBUG = ENV.debug
SECRET_KEY = secret_key(ENV.secret_key, BASE_DIR / "var" / "secret_key")
ALLOWED_HOSTS = list(ENV.allowed_hosts)

INSTALLED_APPS = [
    "amplify_chat",  # first: its reactor must be there before Daphne's
    "daphne",  # makes `runserver` an ASGI server
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "accounts",
    "llm",
    "usage",
    "chat",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "amplify_chat.urls"
ASGI_APPLICATION = "amplify_chat.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def _database(url: str) -> dict[str, Any]:
    config: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=60))
    if config["ENGINE"].endswith("sqlite3"):
        Path(config["NAME"]).parent.mkdir(parents=True, exist_ok=True)
        config["OPTIONS"] = {
            # Readers never wait for the writer; a power cut may cost the last transactions, never the file.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-65536",
            # Take the write lock at the start: a transaction that reads first cannot fail half-way for want of it.
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,  # seconds to wait for the lock
        }
    return config


DATABASES = {"default": _database(ENV.database_url)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Read by `accounts.stores.backends`.
STATE_BACKEND = ENV.state_backend
STATE_TABLES = {
    "keys": ENV.api_keys_table,
    "groups": ENV.groups_table,
    "admin": ENV.admin_table,
    "users": ENV.users_table,
    "accounts": ENV.accounts_table,
}
AWS_REGION = ENV.aws_region

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "var" / "static"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
