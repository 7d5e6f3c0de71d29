"""AWS credentials, and the calls that we sign with them ourselves.

Botocore finds them in the environment, a profile, the ECS task role or the instance role
(https://docs.aws.amazon.com/boto3/latest/guide/credentials.html). The signature is Signature Version 4
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
"""

import asyncio
import logging
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import structlog
from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import RefreshableCredentials  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
from botocore.session import Session  # type: ignore[import-untyped]

from core.aio import run_blocking
from core.errors import ModelRejectedKey

log = structlog.get_logger(__name__)

# At DEBUG it writes out security tokens; its warnings repeat what we log ourselves.
logging.getLogger("botocore").setLevel(logging.ERROR)

FETCH_SECONDS = 20.0
# After a failure, and between attempts while the old keys still hold: nobody hammers the metadata service.
RETRY_SECONDS = 30.0

NO_CREDENTIALS = (
    "The service has no working AWS credentials. Tell your administrator: it needs a task or instance role, or "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for Amazon Bedrock an API key as the endpoint's key "
    "does as well. Meanwhile, choose another model."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsKeys:
    """What one request is signed with."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


class AwsCredentials:
    """Credentials that are fetched when they are first needed and renewed shortly before they expire.

    Fetching blocks (files, the metadata service, STS), so it happens in a thread; a call that finds keys that hold
    does not wait at all.
    """

    def __init__(self, session: Any = None) -> None:
        """`session`: a botocore session; None for one with the process's own settings, made at first use."""
        self._session = session
        self._source: Any = None
        self._keys: AwsKeys | None = None
        self._lock = asyncio.Lock()
        self._next_try = 0.0

    async def keys(self) -> AwsKeys:
        """Keys that hold now. Raises ModelRejectedKey, with what to do, if none can be got."""
        if self._keys is None or self._expires(within=0):
            return await self._renewed()
        # Botocore's advice is to renew a quarter of an hour ahead: one call does it, the others take what there is.
        if self._expires() and not self._lock.locked() and monotonic() >= self._next_try:
            return await self._renewed()
        return self._keys

    def _expires(self, within: int | None = None) -> bool:
        """Within so many seconds; None for botocore's own margin. Static keys never do."""
        source = self._source
        return isinstance(source, RefreshableCredentials) and bool(source.refresh_needed(within))

    async def _renewed(self) -> AwsKeys:
        async with self._lock:
            if self._keys is not None and not self._expires():
                return self._keys  # another call was first
            if monotonic() >= self._next_try:
                await self._try()
            if self._keys is None or self._expires(within=0):
                raise ModelRejectedKey(NO_CREDENTIALS)
            return self._keys

    async def _try(self) -> None:
        """Fetch; a failure is logged, and the old keys stay for as long as they hold."""
        self._next_try = monotonic() + RETRY_SECONDS
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                self._keys = await run_blocking(self._fetch)
        except (BotoCoreError, OSError, RuntimeError, ValueError) as error:
            # Never its text: botocore puts what the metadata service said into it.
            log.warning("aws_credentials_failed", reason=type(error).__name__)
            return
        if self._keys is not None and not self._expires():
            self._next_try = 0.0

    def _fetch(self) -> AwsKeys | None:
        """Blocks. None where botocore finds nothing."""
        if self._source is None:
            self._session = self._session or Session()
            self._source = self._session.get_credentials()
        if self._source is None:
            log.warning("aws_credentials_failed", reason="none_found")
            return None
        frozen = self._source.get_frozen_credentials()
        return AwsKeys(access_key=frozen.access_key, secret_key=frozen.secret_key, token=frozen.token)


def signed_post(url: str, body: bytes, keys: AwsKeys, *, service: str, region: str) -> dict[str, str]:
    """The headers that sign a POST of JSON, all to be sent as they are; `url` as it goes out, to the letter."""
    request = AWSRequest(method="POST", url=url, data=body, headers={"Content-Type": "application/json"})
    SigV4Auth(keys, service, region).add_auth(request)
    return dict(request.headers.items())
