variable "name" {
  description = "Name of the deployment and of the instance."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets in at least two zones."
  type        = list(string)
}

variable "security_group_id" {
  description = "Group that lets the tasks in."
  type        = string
}

variable "instance_class" {
  description = "Size of the instance."
  type        = string
}

variable "storage_gb" {
  description = "Storage to begin with."
  type        = number
}

variable "backup_days" {
  description = "Days that can be gone back to."
  type        = number
}

variable "two_zones" {
  description = "A standby in a second zone, which takes over within a minute or two."
  type        = bool
}

variable "kms_key_arn" {
  description = "Key for storage, logs and secrets."
  type        = string
}

variable "log_days" {
  description = "Days to keep the logs."
  type        = number
}

variable "password" {
  description = "Password of the service's user; letters and digits."
  type        = string
  ephemeral   = true
}

variable "secrets_version" {
  description = "Another number sets the password anew."
  type        = number
}

variable "protect" {
  description = "Refuse to be destroyed, and leave a last snapshot."
  type        = bool
}
