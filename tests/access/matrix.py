"""Who gets what, for every route. A route without a row here fails `test_matrix.py`.

Six people ask. `owner` is whose thing it is; `peer` is in one of the owner's groups; `stranger` has a good key and
nothing to do with either; `anonymous` sends no credential; `scoped` sends a key of the owner's that is for uploading
files alone; `revoked` one that the owner has revoked.
"""

from dataclasses import dataclass
from typing import Any

ACTORS = ("owner", "peer", "stranger", "anonymous", "scoped", "revoked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request, and the status for each actor; `{…}` in the path and the body stand for things of the owner's."""

    path: str
    body: Any = None
    statuses: tuple[int, ...]
    """In the order of ACTORS."""


ASK = {"messages": [{"role": "user", "content": "hi"}], "options": {"model": {"id": "{model}"}}}
ASK_OPENAI = {"model": "{model}", "messages": [{"role": "user", "content": "hi"}]}

NEW_KEY = {"name": "new", "accessTypes": ["chat"]}

EVERYBODY = (200, 200, 200, 200, 200, 200)
ANYBODY_WITH_A_KEY_FOR_CHAT = (200, 200, 200, 401, 403, 403)
THEIR_OWN = (200, 200, 200, 401, 200, 403)
ONLY_THE_OWNER = (200, 404, 404, 401, 403, 403)

MATRIX: dict[tuple[str, str], Row] = {
    # The chat.
    ("POST", "chat"): Row(path="/chat", body=ASK, statuses=ANYBODY_WITH_A_KEY_FOR_CHAT),
    ("POST", "v1/chat/completions"): Row(
        path="/v1/chat/completions", body=ASK_OPENAI, statuses=ANYBODY_WITH_A_KEY_FOR_CHAT
    ),
    ("GET", "v1/models"): Row(path="/v1/models", statuses=ANYBODY_WITH_A_KEY_FOR_CHAT),
    ("GET", "v1/models/<path:model_id>"): Row(path="/v1/models/{model}", statuses=ANYBODY_WITH_A_KEY_FOR_CHAT),
    ("GET", "runs/<str:run_id>/events"): Row(path="/runs/{run}/events", statuses=ONLY_THE_OWNER),
    ("POST", "runs/<str:run_id>/cancel"): Row(path="/runs/{run}/cancel", statuses=ONLY_THE_OWNER),
    # Whether it is up. What it measures is for this machine alone, which these tests are on.
    **{
        (method, name): Row(path=f"/{name}", statuses=EVERYBODY)
        for name in ("health", "ready", "readyz", "livez", "metrics")
        for method in ("GET", "HEAD")
    },
    # Oneself.
    ("GET", "api/me/"): Row(path="/api/me/", statuses=THEIR_OWN),
    # Keys.
    ("GET", "api/keys/"): Row(path="/api/keys/", statuses=(200, 200, 200, 401, 403, 403)),
    ("POST", "api/keys/"): Row(path="/api/keys/", body=NEW_KEY, statuses=(201, 201, 201, 401, 403, 403)),
    ("GET", "api/keys/<uuid:key_id>/"): Row(path="/api/keys/{key}/", statuses=ONLY_THE_OWNER),
    ("PATCH", "api/keys/<uuid:key_id>/"): Row(path="/api/keys/{key}/", body={"name": "x"}, statuses=ONLY_THE_OWNER),
    # By a key, only that very key is rotated: its holder would see the other.
    ("POST", "api/keys/<uuid:key_id>/rotate/"): Row(
        path="/api/keys/{key}/rotate/", statuses=(403, 404, 404, 401, 403, 403)
    ),
    ("POST", "api/keys/<uuid:key_id>/revoke/"): Row(path="/api/keys/{key}/revoke/", statuses=ONLY_THE_OWNER),
    # Groups. A peer reads them and changes nothing.
    ("GET", "api/groups/"): Row(path="/api/groups/", statuses=(200, 200, 200, 401, 403, 403)),
    ("POST", "api/groups/"): Row(path="/api/groups/", body={"name": "new"}, statuses=(201, 201, 201, 401, 403, 403)),
    ("GET", "api/groups/<str:group_id>/"): Row(path="/api/groups/{group}/", statuses=(200, 200, 404, 401, 403, 403)),
    ("PATCH", "api/groups/<str:group_id>/"): Row(
        path="/api/groups/{group}/", body={"name": "Physics"}, statuses=(200, 403, 404, 401, 403, 403)
    ),
    ("DELETE", "api/groups/<str:group_id>/"): Row(path="/api/groups/{group}/", statuses=(204, 403, 404, 401, 403, 403)),
    ("PUT", "api/groups/<str:group_id>/members/<str:user_id>/"): Row(
        path="/api/groups/{group}/members/carol/", body={"role": "read"}, statuses=(200, 403, 404, 401, 403, 403)
    ),
    ("DELETE", "api/groups/<str:group_id>/members/<str:user_id>/"): Row(
        path="/api/groups/{group}/members/dave/", statuses=(204, 403, 404, 401, 403, 403)
    ),
    # Accounts: one's own. A key does not say who pays.
    ("GET", "api/accounts/"): Row(path="/api/accounts/", statuses=(200, 200, 200, 401, 403, 403)),
    ("PUT", "api/accounts/"): Row(
        path="/api/accounts/", body={"accounts": []}, statuses=(403, 403, 403, 401, 403, 403)
    ),
    # What one has spent and what is left: everybody's own, with whatever key; a group's for its admins.
    ("GET", "api/usage/"): Row(path="/api/usage/", statuses=THEIR_OWN),
    ("GET", "api/usage/month/"): Row(path="/api/usage/month/", statuses=THEIR_OWN),
    ("GET", "api/budgets/"): Row(path="/api/budgets/", statuses=THEIR_OWN),
    ("GET", "api/groups/<str:group_id>/usage/"): Row(
        path="/api/groups/{group}/usage/", statuses=(200, 403, 404, 401, 403, 403)
    ),
    # Costs, as the platform's clients ask for them. Nobody here administers the service.
    **{
        ("POST", f"billing/{name}/"): Row(path=f"/billing/{name}", body={"data": {}}, statuses=THEIR_OWN)
        for name in ("mtd-cost", "list-user-mtd-costs", "user-cost-history")
    },
    **{
        ("POST", f"billing/{name}/"): Row(
            path=f"/billing/{name}", body={"data": {}}, statuses=(403, 403, 403, 401, 403, 403)
        )
        for name in ("list-all-user-mtd-costs", "billing-groups-costs")
    },
    ("POST", "billing/api-key-user-cost/"): Row(
        path="/billing/api-key-user-cost",
        body={"data": {"apiKeys": ["{publicName}"]}},
        statuses=(200, 403, 403, 401, 403, 403),
    ),
    # What the API looks like is no secret.
    ("GET", "api/schema/"): Row(path="/api/schema/", statuses=EVERYBODY),
    ("GET", "api/docs/"): Row(path="/api/docs/", statuses=EVERYBODY),
    ("GET", "api/"): Row(path="/api/nothing/", statuses=(404,) * 6),
    # Pages. A key signs nobody in there.
    ("GET", ""): Row(path="/", statuses=(302,) * 6),
    ("GET", "login/"): Row(path="/login/", statuses=EVERYBODY),
    # Without a sign-in service there is nothing to begin or come back from.
    ("GET", "login/institution/"): Row(path="/login/institution/", statuses=(404,) * 6),
    ("GET", "login/callback/"): Row(path="/login/callback/", statuses=(404,) * 6),
    ("GET", "admin/login/"): Row(path="/admin/login/", statuses=(302,) * 6),
    ("GET", "admin/logout/"): Row(path="/admin/logout/", statuses=(405,) * 6),
    ("GET", "logout/"): Row(path="/logout/", statuses=(405,) * 6),
    ("GET", "favicon.ico"): Row(path="/favicon.ico", statuses=(302,) * 6),
}

# Below it everything is for staff: no row each, but each of them is asked for. Signing in and out is for everybody.
STAFF_ONLY = "admin/"
NOT_ONLY_STAFF = ("admin/login/", "admin/logout/")

# Sockets: what each actor's first message is answered with.
SOCKETS: dict[str, dict[str, tuple[str, ...]]] = {
    "ws/chat": {
        "chat.start": ("run.started", "run.started", "run.started", "unauthorized", "forbidden", "forbidden"),
        "run.resume": ("event", "not_found", "not_found", "unauthorized", "forbidden", "forbidden"),
        "run.cancel": ("", "not_found", "not_found", "unauthorized", "forbidden", "forbidden"),
    }
}
