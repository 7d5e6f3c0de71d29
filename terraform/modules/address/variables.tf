variable "domain_name" {
  description = "Host name, or null."
  type        = string
}

variable "zone_id" {
  description = "Hosted zone for the record and the certificate's proof, or null."
  type        = string
}

variable "certificate_arn" {
  description = "A certificate there is already, or null to make one."
  type        = string
}

variable "target" {
  description = "The load balancer that the record leads to."
  type        = object({ dns_name = string, zone_id = string })
}
