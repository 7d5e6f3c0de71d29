variable "name" {
  description = "Name of the secret."
  type        = string
}

variable "description" {
  description = "What it is for."
  type        = string
}

variable "kms_key_arn" {
  description = "Key it is encrypted with."
  type        = string
}

variable "version_no" {
  description = "Another number draws another value."
  type        = number
}

variable "keep_deleted" {
  description = "Keep a deleted secret for 30 days; otherwise it goes at once and its name is free."
  type        = bool
}
