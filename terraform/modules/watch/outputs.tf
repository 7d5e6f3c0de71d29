output "topic_arn" {
  description = "Topic of the alarms."
  value       = aws_sns_topic.this.arn
}

output "rollback_alarms" {
  description = "Alarms that undo a deploy."
  value       = [for name, alarm in local.alarms : aws_cloudwatch_metric_alarm.this[name].alarm_name if alarm.undoes]
}

output "alarms" {
  description = "Names of all alarms."
  value = sort(concat(
    [for alarm in aws_cloudwatch_metric_alarm.this : alarm.alarm_name],
    [aws_cloudwatch_metric_alarm.too_few_tasks.alarm_name],
    aws_cloudwatch_metric_alarm.database_storage[*].alarm_name,
  ))
}

output "dashboard" {
  description = "Name of the dashboard."
  value       = aws_cloudwatch_dashboard.this.dashboard_name
}
