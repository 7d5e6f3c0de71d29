output "dns_name" {
  description = "The load balancer's own name."
  value       = aws_lb.this.dns_name
}

output "zone_id" {
  description = "Hosted zone of that name, for an alias record."
  value       = aws_lb.this.zone_id
}

output "arn_suffix" {
  description = "How metrics name the load balancer."
  value       = aws_lb.this.arn_suffix
}

output "target_group_arn" {
  description = "The target group, once a listener leads to it; ECS refuses one without."
  value       = aws_lb_target_group.this.arn

  depends_on = [aws_lb_listener.https]
}

output "target_group_arn_suffix" {
  description = "How metrics name the target group."
  value       = aws_lb_target_group.this.arn_suffix
}

output "log_bucket" {
  description = "Bucket of the access logs."
  value       = aws_s3_bucket.logs.id
}
