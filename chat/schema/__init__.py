"""Request bodies: what is let in, and as what. `chat` for `/chat` and the socket, `completions` for OpenAI's door."""
