# Somebody is told when it hurts: alarms, and the topic they go to.

data "aws_caller_identity" "here" {}

resource "aws_sns_topic" "this" {
  name              = "${var.name}-alarms"
  kms_master_key_id = var.kms_key_arn
}

data "aws_iam_policy_document" "topic" {
  statement {
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.this.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.here.account_id]
    }
  }
}

resource "aws_sns_topic_policy" "this" {
  arn    = aws_sns_topic.this.arn
  policy = data.aws_iam_policy_document.topic.json
}

resource "aws_sns_topic_subscription" "email" {
  for_each = toset(var.emails)

  topic_arn = aws_sns_topic.this.arn
  protocol  = "email"
  endpoint  = each.value
}

locals {
  load_balancer = { LoadBalancer = var.load_balancer }
  targets       = { LoadBalancer = var.load_balancer, TargetGroup = var.target_group }
  service       = { ClusterName = var.cluster, ServiceName = var.service }

  # A minute without a figure is a minute without trouble, where a figure only comes with trouble.
  alarms = merge(
    {
      errors = {
        tells      = "The service answers requests with 5xx. Look for level=error in ${var.log_group}."
        namespace  = "AWS/ApplicationELB", metric = "HTTPCode_Target_5XX_Count", dimensions = local.targets
        statistic  = "Sum", above = 10, period = 60, periods = 3
        undoes     = true
        no_figures = "notBreaching"
      }
      unhealthy = {
        tells      = "A task does not answer /readyz: it cannot reach its database, or hangs."
        namespace  = "AWS/ApplicationELB", metric = "UnHealthyHostCount", dimensions = local.targets
        statistic  = "Maximum", above = 0, period = 60, periods = 5
        undoes     = true
        no_figures = "notBreaching"
      }
      unreachable = {
        tells      = "The load balancer itself answers with 5xx: no task takes requests, or they hang up (502) or are late (504)."
        namespace  = "AWS/ApplicationELB", metric = "HTTPCode_ELB_5XX_Count", dimensions = local.load_balancer
        statistic  = "Sum", above = 10, period = 60, periods = 3
        undoes     = true
        no_figures = "notBreaching"
      }
      slow = {
        tells      = "One in ten requests waits more than 10 s for the first byte. As a heartbeat comes long before an answer, this is the service or its database, not a model."
        namespace  = "AWS/ApplicationELB", metric = "TargetResponseTime", dimensions = local.targets
        statistic  = "p90", above = 10, period = 60, periods = 5
        undoes     = false
        no_figures = "notBreaching"
      }
      cpu = {
        tells      = "Tasks are busy although autoscaling had ten minutes: is max_count reached?"
        namespace  = "AWS/ECS", metric = "CPUUtilization", dimensions = local.service
        statistic  = "Average", above = 90, period = 60, periods = 10
        undoes     = false
        no_figures = "missing"
      }
      memory = {
        tells      = "Tasks are about to be killed for want of memory."
        namespace  = "AWS/ECS", metric = "MemoryUtilization", dimensions = local.service
        statistic  = "Maximum", above = 90, period = 60, periods = 5
        undoes     = false
        no_figures = "missing"
      }
      streams = {
        tells      = "Tasks hold twice the streams they should: autoscaling is late, or max_count is reached."
        namespace  = "AmplifyChat", metric = "ActiveStreams", dimensions = { Service = var.service }
        statistic  = "Average", above = 2 * var.streams, period = 60, periods = 5
        undoes     = false
        no_figures = "missing"
      }
      logged-errors = {
        tells      = "The service logs errors. Look for level=error in ${var.log_group}."
        namespace  = "AmplifyChat", metric = aws_cloudwatch_log_metric_filter.errors.metric_transformation[0].name, dimensions = {}
        statistic  = "Sum", above = 20, period = 300, periods = 1
        undoes     = false
        no_figures = "notBreaching"
      }
    },
    # Where the number is fixed, the fullest is the ordinary.
    var.max_count == var.min_count ? {} : {
      full = {
        tells      = "As many tasks run as max_count allows; the next rush will not be answered."
        namespace  = "ECS/ContainerInsights", metric = "RunningTaskCount", dimensions = local.service
        statistic  = "Maximum", above = var.max_count - 1, period = 60, periods = 30
        undoes     = false
        no_figures = "missing"
      }
    },
    var.database == null ? {} : {
      database-cpu = {
        tells      = "The database is busy: a larger database_instance_class may be due."
        namespace  = "AWS/RDS", metric = "CPUUtilization", dimensions = { DBInstanceIdentifier = var.database }
        statistic  = "Average", above = 85, period = 60, periods = 15
        undoes     = false
        no_figures = "missing"
      }
      database-connections = {
        tells      = "Tasks hold many connections of the database; at its limit, new ones are refused."
        namespace  = "AWS/RDS", metric = "DatabaseConnections", dimensions = { DBInstanceIdentifier = var.database }
        statistic  = "Maximum", above = 30 * var.max_count, period = 60, periods = 5
        undoes     = false
        no_figures = "missing"
      }
    },
    { for node in var.cache_nodes : "cache-memory-${node}" => {
      tells     = "Valkey is nearly full, and then refuses to write: running answers cannot be resumed elsewhere. A larger cache_node_type is due."
      namespace = "AWS/ElastiCache", metric = "DatabaseMemoryUsagePercentage", dimensions = { CacheClusterId = node }
      statistic = "Maximum", above = 80, period = 60, periods = 5
      undoes    = false
      # Figures come a while after the node.
      no_figures = "missing"
    } },
  )
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.tells
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.above
  period              = each.value.period
  evaluation_periods  = each.value.periods
  treat_missing_data  = each.value.no_figures
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]
}

# The other way round: too little of something.
resource "aws_cloudwatch_metric_alarm" "too_few_tasks" {
  alarm_name          = "${var.name}-too-few-tasks"
  alarm_description   = "Fewer tasks run than min_count: they stop, or cannot start. The service's events say why."
  namespace           = "ECS/ContainerInsights"
  metric_name         = "RunningTaskCount"
  dimensions          = local.service
  statistic           = "Minimum"
  comparison_operator = "LessThanThreshold"
  threshold           = var.min_count
  period              = 60
  evaluation_periods  = 10
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]
}

resource "aws_cloudwatch_metric_alarm" "database_storage" {
  count = var.database == null ? 0 : 1

  alarm_name          = "${var.name}-database-storage"
  alarm_description   = "The database has less than 5 GB left; it has grown as far as it may (ten times database_storage_gb)."
  namespace           = "AWS/RDS"
  metric_name         = "FreeStorageSpace"
  dimensions          = { DBInstanceIdentifier = var.database }
  statistic           = "Minimum"
  comparison_operator = "LessThanThreshold"
  threshold           = 5 * pow(1024, 3)
  period              = 300
  evaluation_periods  = 3
  treat_missing_data  = "missing"
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]
}

resource "aws_cloudwatch_log_metric_filter" "errors" {
  name           = "${var.name}-errors"
  log_group_name = var.log_group
  pattern        = "{ ($.level = \"error\") || ($.level = \"critical\") }"

  metric_transformation {
    namespace = "AmplifyChat"
    name      = "LoggedErrors-${var.service}"
    value     = "1"
  }
}
