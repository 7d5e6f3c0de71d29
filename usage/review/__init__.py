"""The review of usage: what was spent, by whom and on what, read from sums and never from the ledger."""
