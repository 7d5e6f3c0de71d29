variable "name" {
  description = "Name of the deployment."
  type        = string
}

variable "vpc_id" {
  description = "VPC the groups belong to."
  type        = string
}

variable "port" {
  description = "Port the container listens on."
  type        = number
}

variable "allowed_cidrs" {
  description = "Networks that may reach the load balancer."
  type        = list(string)
}

variable "https_egress_cidrs" {
  description = "Networks that tasks may reach on port 443."
  type        = list(string)
}

variable "extra_egress" {
  description = "What else tasks may reach, by name."
  type        = map(object({ port = number, cidr = string }))
}

variable "database" {
  description = "Make a group for a PostgreSQL."
  type        = bool
}

variable "cache" {
  description = "Make a group for a Valkey."
  type        = bool
}
