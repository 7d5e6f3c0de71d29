# Times that only make sense together, in seconds. Change one and read the others.

locals {
  timing = {
    # A stream is never silent for longer than this, so nothing between here and the browser thinks it dead.
    heartbeat = 15

    # The load balancer drops a connection that is silent for this long: eight heartbeats.
    idle = 120

    # The service keeps an idle connection longer than the load balancer does. The other way round the load balancer
    # sends a request into a connection that is being closed, and answers 502.
    keep_alive = 150

    upstream_connect    = 5
    upstream_first_byte = 60
    upstream_gap        = 60 # below `idle` even without heartbeats

    # The longest answer ...
    longest_stream = 840

    # ... has time to end: a deploy takes a task out of the target group, ECS waits this long, then sends SIGTERM.
    deregistration = 900

    # After SIGTERM the service finishes what still runs for `drain` and writes its books; ECS kills it at `stop`,
    # and 120 is the most that Fargate allows.
    drain = 110
    stop  = 120

    ready_every   = 15 # /readyz, asked by the target group: three failures take a task out in 45 s
    ready_timeout = 5
    health_every  = 15 # /health, asked inside the container: a hung process is replaced
    start         = 60 # a new task may take this long before a failed check counts

    # Autoscaling: out quickly, in slowly, because a task that goes takes `deregistration` to empty.
    scale_out = 60
    scale_in  = 300
  }
}
