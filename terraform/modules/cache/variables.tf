variable "name" {
  description = "Name of the replication group, at most 40 characters."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets, in at least two zones for two nodes."
  type        = list(string)
}

variable "security_group_id" {
  description = "Group that lets the tasks in."
  type        = string
}

variable "node_type" {
  description = "Size of a node."
  type        = string
}

variable "two_zones" {
  description = "A second node in another zone, which takes over."
  type        = bool
}

variable "kms_key_arn" {
  description = "Key for what is at rest."
  type        = string
}
