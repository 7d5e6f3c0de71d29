"""Django's settings, made from `amplify_chat.env`."""

from typing import Any

import django_stubs_ext

from amplify_chat.database import database
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
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "audit",
    "accounts",
    "llm",
    "usage",
    "chat",
]

MIDDLEWARE = [
    "accounts.cookies.SecureCookies",
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

DATABASES = {"default": database(ENV.database_url)}
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
# Read by `usage.platform.tables`.
PLATFORM_BOOKS = {
    "usage": ENV.chat_usage_table,
    "costs": ENV.costs_table,
    "history": ENV.cost_history_table,
    "admin": ENV.admin_table,
}
AWS_REGION = ENV.aws_region

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
AUTHENTICATION_BACKENDS = [
    *(["django.contrib.auth.backends.ModelBackend"] if ENV.local_login else []),
    *(["accounts.login.ProviderBackend"] if ENV.oidc_client_id else []),
]
# Read by mozilla-django-oidc (`accounts.login`).
OIDC_RP_CLIENT_ID = ENV.oidc_client_id
OIDC_RP_CLIENT_SECRET = ENV.oidc_client_secret
OIDC_RP_SCOPES = ENV.oidc_scopes
OIDC_USE_PKCE = True
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"

# Who is asking is seen at the door (`accounts.api.asgi`); what else the views have is `core.rest.JsonView`'s.
REST_FRAMEWORK: dict[str, Any] = {
    "EXCEPTION_HANDLER": "core.rest.answer_error",
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_SCHEMA_CLASS": "core.openapi.ApiSchema",
    "DEFAULT_THROTTLE_RATES": {"principal": "600/min"},
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Amplify Chat",
    "DESCRIPTION": "API keys, groups, accounts, usage and budgets. Chat itself: docs/http.md and docs/websocket.md.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "core.openapi.add_error"],
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/",
    "ENUM_NAME_OVERRIDES": {
        "KeyKind": ["owner", "delegate", "system"],
        "GroupKind": ["assistant", "amplify"],
        "Role": ["admin", "write", "read"],
        "Period": ["Hourly", "Daily", "Monthly", "Total"],
        "AccessType": "accounts.api.serializers.ACCESS_TYPES",
    },
    # The page at /api/docs/ takes its files from here, not from a content network.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
# How many requests who has made lately: of so many people at a time.
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 10_000}},
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
DISPLAY_TIME_ZONE = ENV.display_time_zone  # read by `usage.admin.budgets`
USE_TZ = True

STATIC_URL = "static/"  # served from where the apps have them (`amplify_chat.asgi`); nothing is collected

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
