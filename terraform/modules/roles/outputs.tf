output "execution_arn" {
  description = "Role that starts tasks, once it has its rights."
  value       = aws_iam_role.execution.arn

  depends_on = [aws_iam_role_policy.execution]
}

output "task_arn" {
  description = "Role of the service, once it has its rights."
  value       = aws_iam_role.task.arn

  depends_on = [aws_iam_role_policy.task, aws_iam_role_policy_attachment.given]
}
