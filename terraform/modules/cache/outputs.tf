output "url" {
  description = "REDIS_URL."
  value       = "rediss://${aws_elasticache_replication_group.this.primary_endpoint_address}:6379/0"
}

output "nodes" {
  description = "How metrics name the nodes."
  value       = [for i in range(local.count) : format("%s-%03d", var.name, i + 1)]
}
