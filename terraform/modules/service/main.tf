# The cluster and the service on it.

resource "aws_ecs_cluster" "this" {
  name = var.name

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_ecs_cluster_capacity_providers" "this" {
  cluster_name       = aws_ecs_cluster.this.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]

  default_capacity_provider_strategy {
    capacity_provider = "FARGATE"
    weight            = 1
  }
}

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_338:How long is the deployer's choice (log_retention_days, a year unless changed).
  name              = "/ecs/${var.name}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_ecs_service" "this" {
  name            = var.name
  cluster         = aws_ecs_cluster.this.id
  task_definition = aws_ecs_task_definition.this.arn
  desired_count   = var.count_of_tasks.start
  propagate_tags  = "SERVICE"

  # A zone that was lost and comes back gets its share of tasks again.
  availability_zone_rebalancing = "ENABLED"

  # The first min tasks on ordinary capacity, what comes above shared out. A provider of weight 0 gets no task at all, so
  # at 100 percent of Spot one in a hundred is still ordinary.
  capacity_provider_strategy {
    capacity_provider = "FARGATE"
    base              = var.count_of_tasks.min
    weight            = max(1, 100 - var.spot_percent)
  }

  dynamic "capacity_provider_strategy" {
    for_each = var.spot_percent > 0 ? [1] : []

    content {
      capacity_provider = "FARGATE_SPOT"
      weight            = var.spot_percent
    }
  }

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [var.security_group_id]
    assign_public_ip = false
  }

  load_balancer {
    target_group_arn = var.target_group_arn
    container_name   = local.container
    container_port   = var.port
  }

  # New tasks first, old ones after: nobody waits during a deploy.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  health_check_grace_period_seconds  = var.timing.start

  # A deploy whose tasks do not come up goes back by itself ...
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  # ... and so does one whose tasks come up and then fail people.
  alarms {
    enable      = true
    rollback    = true
    alarm_names = var.rollback_alarms
  }

  lifecycle {
    # Deploys (ansible/) register a revision with the new image's digest and point the service to it; autoscaling sets
    # the number of tasks. An apply must undo neither. What an apply changes in the task definition therefore runs from
    # the next deploy on, which copies the newest revision.
    ignore_changes = [task_definition, desired_count]
  }

  # Twenty minutes unless said, and emptying the last tasks takes nearly that.
  timeouts {
    delete = "40m"
  }

  depends_on = [aws_ecs_cluster_capacity_providers.this]
}
