variable "name" {
  description = "Name of the deployment."
  type        = string
}

variable "cidr" {
  description = "Addresses of the VPC, /16 to /20."
  type        = string
}

variable "zone_count" {
  description = "How many availability zones."
  type        = number
}

variable "nat_per_zone" {
  description = "A NAT gateway for each zone instead of one for all."
  type        = bool
}

variable "kms_key_arn" {
  description = "Key for the flow logs."
  type        = string
}

variable "log_days" {
  description = "Days to keep the flow logs."
  type        = number
}
