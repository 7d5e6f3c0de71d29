"""Secrets of AWS Secrets Manager, by name or ARN; read again from time to time, so that a rotation needs no restart."""

import time
from typing import Any

import boto3  # type: ignore[import-untyped]
import structlog
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from core.aio import run_blocking

log = structlog.get_logger(__name__)

# Seconds.
KEEP = 300.0
RETRY = 30.0
CONNECT = 3.0
READ = 5.0


class Secret:
    """One secret. A store that is away leaves what was known last."""

    def __init__(self, name: str, *, region: str, keep: float = KEEP) -> None:
        """`name`: a name or an ARN, whose region then counts."""
        self.name = name
        self._region = name.split(":")[3] if name.startswith("arn:") else region
        self._keep = keep
        self._text: str | None = None
        self._stale_at = 0.0
        self._client: Any = None

    async def text(self) -> str | None:
        """What the secret says; None when it could not be read yet."""
        if time.monotonic() >= self._stale_at:
            self._stale_at = time.monotonic() + RETRY  # others do not ask meanwhile
            try:
                self._text = await run_blocking(self._fetch)
                self._stale_at = time.monotonic() + self._keep
            except (BotoCoreError, ClientError) as error:
                log.warning(
                    "secret_not_read",
                    secret=self.name,
                    reason=type(error).__name__,
                    hint="Does the task role allow secretsmanager:GetSecretValue on it?",
                )
        return self._text

    def _fetch(self) -> str:
        if self._client is None:
            timeouts = Config(connect_timeout=CONNECT, read_timeout=READ, retries={"total_max_attempts": 2})
            self._client = boto3.client("secretsmanager", region_name=self._region, config=timeouts)
        return str(self._client.get_secret_value(SecretId=self.name)["SecretString"])
