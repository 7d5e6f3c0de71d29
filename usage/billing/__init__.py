"""The cost operations that the platform's clients call, `/billing/…` (docs/billing.md; billing-and-state §3.7)."""
