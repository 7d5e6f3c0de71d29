# What runs: the service, and a collector of traces beside it.

locals {
  container = "chat"

  # The image makes this user and nothing else of its own: root could do more than a chat service should.
  user = "10001:10001"

  service = {
    name                   = local.container
    image                  = var.image
    essential              = true
    user                   = local.user
    readonlyRootFilesystem = true
    entryPoint             = ["python", "manage.py"] # a one-off task replaces the command: migrate, and so on
    command                = ["serve"]
    stopTimeout            = var.timing.stop
    portMappings           = [{ containerPort = var.port, hostPort = var.port, protocol = "tcp", name = "http" }]
    environment            = [for name, value in var.environment : { name = name, value = value }]
    secrets                = [for name, arn in var.secrets : { name = name, valueFrom = arn }]
    mountPoints            = [{ sourceVolume = "tmp", containerPath = "/tmp", readOnly = false }]
    linuxParameters        = { initProcessEnabled = true } # reaps children and passes signals on

    # Python is in the image, curl is not. Goes past a proxy that the environment may name.
    healthCheck = {
      command = ["CMD", "python", "-c",
        "import http.client as h; c = h.HTTPConnection('127.0.0.1', ${var.port}, timeout=4); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)",
      ]
      interval    = var.timing.health_every
      timeout     = 5
      retries     = 3
      startPeriod = var.timing.start
    }

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this.name
        awslogs-region        = var.aws_region
        awslogs-stream-prefix = local.container
        mode                  = "non-blocking" # a slow log must not stop a stream
        max-buffer-size       = "4m"
      }
    }
  }

  collector = {
    name                   = "collector"
    image                  = var.collector_image
    essential              = false # answers matter more than traces
    readonlyRootFilesystem = true
    memory                 = 256
    environment            = [{ name = "AOT_CONFIG_CONTENT", value = local.collector_config }]

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this.name
        awslogs-region        = var.aws_region
        awslogs-stream-prefix = "collector"
        mode                  = "non-blocking"
        max-buffer-size       = "1m"
      }
    }
  }

  # Only this task can reach its own loopback.
  collector_config = yamlencode({
    receivers  = { otlp = { protocols = { http = { endpoint = "127.0.0.1:4318" } } } }
    processors = { memory_limiter = { check_interval = "1s", limit_mib = 180 }, batch = { timeout = "5s" } }
    exporters  = { awsxray = { region = var.aws_region } }
    service = {
      pipelines = { traces = { receivers = ["otlp"], processors = ["memory_limiter", "batch"], exporters = ["awsxray"] } }
      telemetry = { logs = { level = "warn" } }
    }
  })
}

resource "aws_ecs_task_definition" "this" {
  #checkov:skip=CKV_AWS_336:Both containers have a read-only root file system; the check does not see through locals.
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  execution_role_arn       = var.execution_role_arn
  task_role_arn            = var.task_role_arn
  container_definitions    = jsonencode(concat([local.service], var.collector_image == null ? [] : [local.collector]))

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.cpu_architecture
  }

  # The only place a task may write to; gone with it. The image declares /tmp as a volume, so that its user owns it.
  volume {
    name = "tmp"
  }

  # The running service may still be on the revision that this one replaces, and a rollback needs it.
  skip_destroy = true
}
