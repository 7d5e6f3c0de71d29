"""`python -m bench.unlocked`: the service with everybody let in, so that `bench.sign_in` can tell what sign-in costs.

For measuring alone: nothing in the service can be set so.
"""

# isort: off
from amplify_chat.asgi import wiring  # first: it sets Django up

from accounts.authentication import CHAT, Authenticator
from accounts.principal import Principal
from django.core.management import call_command
# isort: on


class Everybody(Authenticator):
    """Takes no notice of what is sent."""

    _PRINCIPAL = Principal(user_id="bench")

    def __init__(self) -> None:
        super().__init__([], wiring.directory)

    async def by_header(self, authorization: str, *, scope: str | None = CHAT) -> Principal:
        return self._PRINCIPAL


if __name__ == "__main__":
    wiring.service.authenticator = Everybody()
    call_command("serve")
