output "arn" {
  description = "ARN of the secret, once it has a value."
  value       = aws_secretsmanager_secret_version.this.arn
}
