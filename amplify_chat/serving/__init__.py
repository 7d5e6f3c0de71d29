"""What `manage.py serve` is made of: two servers, and one way to start and to drain them (docs/architecture.md)."""
