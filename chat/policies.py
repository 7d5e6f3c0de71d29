"""Who may do what with a run. Which models somebody may use, `llm.cards` says: it is data of the catalogue."""

from accounts.policies import Action, Policy
from accounts.principal import Principal
from chat.runs import Run


class RunPolicy(Policy[Run]):
    """A run is its owner's alone: reading, resuming and stopping it. Not even a member of their group sees it."""

    noun = "Run"
    scope = "chat"
    where = "It may have ended a while ago; ask again with POST /chat."

    def _why_not(self, principal: Principal, action: Action, thing: Run | None) -> str:
        return "" if thing is None or thing.owner == principal.user_id else "This is not your run."


runs = RunPolicy()
