"""How many tokens a text has, where the vendor did not say."""

from collections.abc import Iterable

from llm.messages import Message

# English prose has about four characters a token in today's vocabularies; a message's frame costs about four tokens.
_BYTES_A_TOKEN = 4
_TOKENS_A_MESSAGE = 4


def estimate_text(text: str) -> int:
    """Tokens of a text, by its UTF-8 length; right within a quarter for prose."""
    return estimate_bytes(len(text.encode("utf-8", "surrogatepass")))


def estimate_bytes(size: int) -> int:
    """Tokens of a UTF-8 text of so many bytes, rounded up."""
    return -(-size // _BYTES_A_TOKEN)


def estimate_messages(messages: Iterable[Message]) -> int:
    """Tokens that a conversation costs as input."""
    return sum(_TOKENS_A_MESSAGE + estimate_text(message.text) for message in messages)
