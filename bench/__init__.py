"""Benchmarks: a mock upstream, a raw relay, a load generator that checks every token, and a report."""
