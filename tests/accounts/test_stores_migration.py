"""Keys of before owners were text keep their owners."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from accounts.models import ApiKey

BEFORE = [("accounts", "0001_initial")]


@pytest.mark.django_db(transaction=True)
def test_keys_keep_their_owners() -> None:
    MigrationExecutor(connection).migrate(BEFORE)
    executor = MigrationExecutor(connection)
    try:
        old = executor.loader.project_state(BEFORE).apps
        for name in ("ann", "bob"):
            user = old.get_model("accounts", "User").objects.create(username=name)
            old.get_model("accounts", "ApiKey").objects.create(
                api_owner_id=f"{name}/ownerKey/1", key_hash=name, owner=user
            )
    finally:
        executor.migrate(executor.loader.graph.leaf_nodes())
    assert dict(ApiKey.objects.values_list("key_hash", "owner")) == {"ann": "ann", "bob": "bob"}
