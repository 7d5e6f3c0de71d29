variable "name" {
  description = "Name of the deployment."
  type        = string
}

variable "repository_arn" {
  description = "Repository that images are pulled from."
  type        = string
}

variable "log_group_arn" {
  description = "Log group of the tasks, without :*."
  type        = string
}

variable "start_secret_arns" {
  description = "Secrets that ECS puts into the environment."
  type        = list(string)
}

variable "kms_key_arns" {
  description = "Keys that secrets and the platform's data are encrypted with."
  type        = list(string)
}

variable "rights" {
  description = "What the service may do: actions by ARN of table, bucket and queue; ARNs of secrets, models and a guardrail."
  type = object({
    tables    = map(list(string))
    buckets   = map(list(string))
    queues    = map(list(string))
    secrets   = list(string)
    models    = list(string)
    guardrail = string
  })
}

variable "policy_arns" {
  description = "Managed policies in place of what rights says."
  type        = list(string)
}

variable "tracing" {
  description = "Traces go to X-Ray."
  type        = bool
}
