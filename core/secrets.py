"""Secrets of AWS Secrets Manager, by name or ARN; read again from time to time, so that a rotation needs no restart."""

import asyncio
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
        arn = name.split(":")
        self._region = arn[3] if name.startswith("arn:") and len(arn) > 3 and arn[3] else region  # noqa: PLR2004
        self._keep = keep
        self._text: str | None = None
        self._stale_at = 0.0
        self._reading = asyncio.Lock()
        self._client: Any = None

    async def text(self) -> str | None:
        """What the secret says; None when it could not be read yet."""
        # One asks for all, and who knows a text already does not wait for it.
        if self._is_stale and (self._text is None or not self._reading.locked()):
            async with self._reading:
                if self._is_stale:
                    await self._read()
        return self._text

    @property
    def _is_stale(self) -> bool:
        return time.monotonic() >= self._stale_at

    async def _read(self) -> None:
        good_for = RETRY
        try:
            self._text = await run_blocking(self._fetch)
            good_for = self._keep
        except (BotoCoreError, ClientError, KeyError, ValueError) as error:  # the last two: binary; AWS_ENDPOINT_URL
            log.warning(
                "secret_not_read",
                secret=self.name,
                reason=type(error).__name__,
                hint="Does the task role allow secretsmanager:GetSecretValue on it, and is it text?",
            )
        self._stale_at = time.monotonic() + good_for

    def _fetch(self) -> str:
        if self._client is None:
            timeouts = Config(connect_timeout=CONNECT, read_timeout=READ, retries={"total_max_attempts": 2})
            self._client = boto3.client("secretsmanager", region_name=self._region, config=timeouts)
        return str(self._client.get_secret_value(SecretId=self.name)["SecretString"])
