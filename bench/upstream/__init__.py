"""The mock upstream: one deterministic process that speaks to the service as model vendors do, and as they fail.

Start it with `python -m bench.upstream --port 0`, or from a test with `bench.upstream.testing.running_upstream`.
It speaks the languages of `dialects.DIALECTS`, each at its vendor's paths. What a call gets is chosen by its model
name, for example `mock+tokens=50+ttft=100+gap=20+fault=cut`: see `plan.Plan`.
"""
