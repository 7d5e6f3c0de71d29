# One page for the question "how is it?": people first, then tasks, then what they lean on.

locals {
  # [title, metrics, statistic]; three to a row.
  charts = concat(
    [
      ["Requests a minute", [["AWS/ApplicationELB", "RequestCount", "LoadBalancer", var.load_balancer]], "Sum"],
      ["Failures a minute", [
        ["AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", "LoadBalancer", var.load_balancer, "TargetGroup", var.target_group, { label = "service 5xx" }],
        ["AWS/ApplicationELB", "HTTPCode_ELB_5XX_Count", "LoadBalancer", var.load_balancer, { label = "load balancer 5xx" }],
        ["AWS/ApplicationELB", "HTTPCode_Target_4XX_Count", "LoadBalancer", var.load_balancer, "TargetGroup", var.target_group, { label = "4xx" }],
        ["AmplifyChat", aws_cloudwatch_log_metric_filter.errors.metric_transformation[0].name, { label = "logged errors" }],
      ], "Sum"],
      ["Seconds to the first byte", [
        ["AWS/ApplicationELB", "TargetResponseTime", "LoadBalancer", var.load_balancer, "TargetGroup", var.target_group, { stat = "p50", label = "p50" }],
        ["AWS/ApplicationELB", "TargetResponseTime", "LoadBalancer", var.load_balancer, "TargetGroup", var.target_group, { stat = "p99", label = "p99" }],
      ], "p50"],
      ["Open streams a task", [
        ["AmplifyChat", "ActiveStreams", "Service", var.service, { label = "average" }],
        ["AmplifyChat", "ActiveStreams", "Service", var.service, { stat = "Maximum", label = "fullest task" }],
      ], "Average"],
      ["Tasks", [
        ["ECS/ContainerInsights", "RunningTaskCount", "ClusterName", var.cluster, "ServiceName", var.service, { label = "running" }],
        ["ECS/ContainerInsights", "DesiredTaskCount", "ClusterName", var.cluster, "ServiceName", var.service, { label = "wanted" }],
        ["AWS/ApplicationELB", "HealthyHostCount", "LoadBalancer", var.load_balancer, "TargetGroup", var.target_group, { label = "ready" }],
      ], "Average"],
      ["CPU and memory, percent", [
        ["AWS/ECS", "CPUUtilization", "ClusterName", var.cluster, "ServiceName", var.service, { label = "CPU" }],
        ["AWS/ECS", "MemoryUtilization", "ClusterName", var.cluster, "ServiceName", var.service, { label = "memory" }],
      ], "Average"],
    ],
    var.database == null ? [] : [
      ["Database: CPU percent", [["AWS/RDS", "CPUUtilization", "DBInstanceIdentifier", var.database]], "Average"],
      ["Database: connections", [["AWS/RDS", "DatabaseConnections", "DBInstanceIdentifier", var.database]], "Maximum"],
    ],
    length(var.cache_nodes) == 0 ? [] : [
      ["Valkey: memory percent", [for node in var.cache_nodes : ["AWS/ElastiCache", "DatabaseMemoryUsagePercentage", "CacheClusterId", node]], "Maximum"],
    ],
  )
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = [for i, chart in local.charts : {
      type   = "metric"
      x      = 8 * (i % 3)
      y      = 6 * floor(i / 3)
      width  = 8
      height = 6
      properties = {
        title   = chart[0]
        metrics = chart[1]
        stat    = chart[2]
        period  = 60
        region  = var.aws_region
        view    = "timeSeries"
      }
    }]
  })
}
