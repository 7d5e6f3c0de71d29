variable "name" {
  description = "Name of cluster, service and task family, and the value of the metric's dimension Service."
  type        = string
}

variable "aws_region" {
  description = "Region for logs and traces."
  type        = string
}

variable "image" {
  description = "Image of this task definition."
  type        = string
}

variable "port" {
  description = "Port the container listens on."
  type        = number
}

variable "cpu" {
  description = "CPU units of a task."
  type        = number
}

variable "memory" {
  description = "Memory of a task in MB."
  type        = number
}

variable "cpu_architecture" {
  description = "X86_64 or ARM64."
  type        = string
}

variable "environment" {
  description = "Environment variables."
  type        = map(string)
}

variable "secrets" {
  description = "Environment variables whose values are secrets, by ARN."
  type        = map(string)
}

variable "execution_role_arn" {
  description = "Role that starts tasks."
  type        = string
}

variable "task_role_arn" {
  description = "Role of the service itself."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of the tasks."
  type        = list(string)
}

variable "security_group_id" {
  description = "Group of the tasks."
  type        = string
}

variable "target_group_arn" {
  description = "Where tasks are registered."
  type        = string
}

variable "timing" {
  description = "Times in seconds that fit together, see timing.tf."
  type = object({
    stop         = number
    health_every = number
    start        = number
    scale_out    = number
    scale_in     = number
  })
}

variable "count_of_tasks" {
  description = "Tasks to start with, fewest and most."
  type        = object({ start = number, min = number, max = number })
}

variable "scaling" {
  description = "What autoscaling aims at: CPU and memory in percent, open streams a task."
  type        = object({ cpu_percent = number, memory_percent = number, streams = number })
}

variable "spot_percent" {
  description = "Share on Fargate Spot above the fewest tasks."
  type        = number
}

variable "kms_key_arn" {
  description = "Key for the logs."
  type        = string
}

variable "log_days" {
  description = "Days to keep the logs."
  type        = number
}

variable "rollback_alarms" {
  description = "Names of the alarms that undo a deploy."
  type        = list(string)
}

variable "collector_image" {
  description = "Image of the collector of traces, or null for none."
  type        = string
}
