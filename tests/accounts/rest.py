"""People who use the REST API over real sockets: signed in, or with a key."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.harness import Service, manage

# The session is that of somebody who has signed in by the page; made directly, as hashing passwords takes long.
_SIGN_IN = """
import json
from importlib import import_module
from django.conf import settings
from django.contrib import auth
from accounts.models import User
sessions = {}
for name in %r:
    user, _ = User.objects.get_or_create(username=name)
    user.is_staff = user.is_superuser = name == "root"
    user.set_unusable_password()
    user.save()
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[auth.SESSION_KEY] = str(user.pk)
    session[auth.BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[auth.HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    sessions[name] = session.session_key
print(json.dumps(sessions))
"""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


@dataclass
class Visitor:
    """Whoever sends requests with these headers."""

    service: Service
    headers: dict[str, str] = field(default_factory=dict)

    async def ask(
        self, method: str, path: str, body: Any = None, *, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        typed = {} if body is None else {"Content-Type": "application/json"}
        content = data if body is None else json.dumps(body).encode()
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method,
                self.service.url + "/api/" + path,
                data=content,
                headers={**typed, **self.headers, **(headers or {})},
                allow_redirects=False,
            ) as response,
        ):
            return Reply(response.status, response.headers, await response.read())

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Reply:
        return await self.ask("POST", path, body, **options)

    async def created_key(self, **facts: Any) -> dict[str, Any]:
        """A new key, as the API shows it once."""
        reply = await self.post("keys/", {"name": "a key", "accessTypes": ["full_access"], **facts})
        assert reply.status == 201, reply.raw
        found: dict[str, Any] = reply.json
        return found

    async def created_group(self, **facts: Any) -> dict[str, Any]:
        reply = await self.post("groups/", {"name": "a group", **facts})
        assert reply.status == 201, reply.raw
        found: dict[str, Any] = reply.json
        return found


def with_key(service: Service, key: str) -> Visitor:
    return Visitor(service, {"Authorization": f"Bearer {key}"})


def signed_in(service: Service, *names: str) -> dict[str, Visitor]:
    """Each of them at one of our own pages; `root` administers the service."""
    told = manage(service.env, "shell", "--verbosity", "0", "-c", _SIGN_IN % (names,))
    sessions = json.loads(told.strip().splitlines()[-1])
    own_page = {"Origin": service.url, "Sec-Fetch-Site": "same-origin"}
    return {name: Visitor(service, {"Cookie": f"sessionid={sessions[name]}", **own_page}) for name in names}


def entries(service: Service, resource_id: str) -> list[dict[str, Any]]:
    """What the audit log says of a thing, oldest first."""
    rows = service.sql("SELECT * FROM audit_entry WHERE resource_id = ? ORDER BY id", resource_id)
    return [{**dict(row), "changes": json.loads(row["changes"])} for row in rows]
