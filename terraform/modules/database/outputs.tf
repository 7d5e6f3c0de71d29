output "id" {
  description = "How metrics name the instance."
  value       = aws_db_instance.this.identifier
}

output "endpoint" {
  description = "Host and port."
  value       = aws_db_instance.this.endpoint
}

output "url_secret_arn" {
  description = "Secret with DATABASE_URL, once it has a value."
  value       = aws_secretsmanager_secret_version.url.arn
}
