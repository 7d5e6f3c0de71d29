# More tasks when any of three is high; fewer when all are low.

resource "aws_appautoscaling_target" "this" {
  service_namespace  = "ecs"
  resource_id        = "service/${aws_ecs_cluster.this.name}/${aws_ecs_service.this.name}"
  scalable_dimension = "ecs:service:DesiredCount"
  min_capacity       = var.count_of_tasks.min
  max_capacity       = var.count_of_tasks.max
}

resource "aws_appautoscaling_policy" "use" {
  for_each = {
    cpu    = { metric = "ECSServiceAverageCPUUtilization", target = var.scaling.cpu_percent }
    memory = { metric = "ECSServiceAverageMemoryUtilization", target = var.scaling.memory_percent }
  }

  name               = "${var.name}-${each.key}"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  resource_id        = aws_appautoscaling_target.this.resource_id
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value       = each.value.target
    scale_out_cooldown = var.timing.scale_out
    scale_in_cooldown  = var.timing.scale_in

    predefined_metric_specification {
      predefined_metric_type = each.value.metric
    }
  }
}

# Streams that wait for a slow model cost no CPU and still fill a task. Each task writes its own number into its log
# (embedded metric format), all under the same dimension: the average is that of a task.
resource "aws_appautoscaling_policy" "streams" {
  name               = "${var.name}-streams"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  resource_id        = aws_appautoscaling_target.this.resource_id
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value       = var.scaling.streams
    scale_out_cooldown = var.timing.scale_out
    scale_in_cooldown  = var.timing.scale_in

    customized_metric_specification {
      namespace   = "AmplifyChat"
      metric_name = "ActiveStreams"
      statistic   = "Average"

      dimensions {
        name  = "Service"
        value = var.name
      }
    }
  }
}
