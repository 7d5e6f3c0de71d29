variable "name" {
  description = "Name of the deployment."
  type        = string
}

variable "aws_region" {
  description = "Region of the figures on the dashboard."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of the topic; CloudWatch must be allowed to use it."
  type        = string
}

variable "emails" {
  description = "Addresses that get the alarms."
  type        = list(string)
}

variable "cluster" {
  description = "Name of the cluster."
  type        = string
}

variable "service" {
  description = "Name of the service."
  type        = string
}

variable "min_count" {
  description = "Fewest tasks."
  type        = number
}

variable "max_count" {
  description = "Most tasks."
  type        = number
}

variable "streams" {
  description = "Open streams a task that autoscaling aims at."
  type        = number
}

variable "log_group" {
  description = "Log group of the tasks."
  type        = string
}

variable "load_balancer" {
  description = "How metrics name the load balancer."
  type        = string
}

variable "target_group" {
  description = "How metrics name the target group."
  type        = string
}

variable "database" {
  description = "How metrics name the database, or null where it is not ours."
  type        = string
}

variable "cache_nodes" {
  description = "How metrics name the nodes of the Valkey; [] where it is not ours."
  type        = list(string)
}
