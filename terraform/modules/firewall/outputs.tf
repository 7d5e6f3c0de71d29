output "door_id" {
  description = "Group of the load balancer."
  value       = aws_security_group.door.id
}

output "service_id" {
  description = "Group of the tasks."
  value       = aws_security_group.service.id

  # A task that starts before its rules reaches neither its image nor its database.
  depends_on = [aws_vpc_security_group_egress_rule.https, aws_vpc_security_group_egress_rule.extra, aws_vpc_security_group_egress_rule.store]
}

output "database_id" {
  description = "Group of the PostgreSQL, or null."
  value       = one(aws_security_group.database[*].id)
}

output "cache_id" {
  description = "Group of the Valkey, or null."
  value       = one(aws_security_group.cache[*].id)
}
