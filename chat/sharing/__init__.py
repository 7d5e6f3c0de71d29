"""Runs that cross processes: any task behind a load balancer finds, resumes and stops what another one conducts.

    signals    what processes tell each other: kill, cancel, somebody follows
    logs       a run's log in the store: written behind the run's back, read by whoever resumes it elsewhere
    peers      the two together, as the registry knows them

The store is the Valkey or Redis that REDIS_URL names (`core.shared_store`).

Without REDIS_URL none of it is there, and one process is complete. While the store is away, runs go on as without it.
"""
