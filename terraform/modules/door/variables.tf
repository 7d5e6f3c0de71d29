variable "name" {
  description = "Name of load balancer and target group, at most 32 characters."
  type        = string
}

variable "log_bucket" {
  description = "Name of the bucket for access logs."
  type        = string
}

variable "vpc_id" {
  description = "VPC of the targets."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the load balancer, in at least two zones."
  type        = list(string)
}

variable "security_group_id" {
  description = "Group of the load balancer."
  type        = string
}

variable "internal" {
  description = "Private addresses only."
  type        = bool
}

variable "port" {
  description = "Port of the targets."
  type        = number
}

variable "certificate_arn" {
  description = "Certificate of the HTTPS listener."
  type        = string
}

variable "web_acl_arn" {
  description = "Web ACL to put before it, or null."
  type        = string
}

variable "timing" {
  description = "Times in seconds that fit together, see timing.tf."
  type = object({
    idle           = number
    deregistration = number
    ready_every    = number
    ready_timeout  = number
  })
}

variable "access_log_days" {
  description = "Days to keep access logs."
  type        = number
}

variable "protect" {
  description = "Refuse to be destroyed."
  type        = bool
}
