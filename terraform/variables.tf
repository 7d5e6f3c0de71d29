# Which deployment this is, where it stands and how it is reached.
# How much of it runs: variables-service.tf. What it talks to: variables-state.tf.

variable "aws_region" {
  description = "AWS region to deploy to; the one of the Amplify platform, if there is one."
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.aws_region))
    error_message = "aws_region is a region's code, like us-east-1."
  }
}

variable "deployment_name" {
  description = "Name of the Amplify deployment, the platform's DEP_NAME: the <name> in amplify-<name>-lambda-<stage>-chat-usage. Every name is built from it, so it cannot be changed later."
  type        = string

  validation {
    # A load balancer's name has 32 characters at most, and "-chat-staging" takes 13.
    condition     = can(regex("^[a-z](-?[a-z0-9]+)*$", var.deployment_name)) && length(var.deployment_name) <= 19
    error_message = "deployment_name has at most 19 lower-case letters, digits and single hyphens, and starts with a letter."
  }
}

variable "environment" {
  description = "Stage of the deployment: dev, staging or prod. prod also turns on what protects data (see deletion_protection) and a second zone for database and cache."
  type        = string

  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "environment is dev, staging or prod."
  }
}

variable "tags" {
  description = "More tags for everything, say a cost centre. Product, Deployment, Environment and ManagedBy are there already."
  type        = map(string)
  default     = {}
}

# --- Network ---------------------------------------------------------------------------------------------------------

variable "vpc_id" {
  description = "VPC to deploy into. null makes one, with public and private subnets and NAT gateways."
  type        = string
  default     = null

  validation {
    condition     = var.vpc_id == null || can(regex("^vpc-[0-9a-f]+$", var.vpc_id))
    error_message = "vpc_id is the id of a VPC, like vpc-0a1b2c3d4e5f67890, or null."
  }
}

variable "public_subnet_ids" {
  description = "With vpc_id: at least two subnets in different zones for the load balancer; they need a route to an internet gateway unless internal is true."
  type        = list(string)
  default     = []

  validation {
    condition     = (var.vpc_id == null) == (length(var.public_subnet_ids) == 0)
    error_message = "Give public_subnet_ids with vpc_id, and only with it."
  }

  validation {
    condition     = length(var.public_subnet_ids) != 1
    error_message = "A load balancer needs at least two public_subnet_ids, in different zones."
  }
}

variable "private_subnet_ids" {
  description = "With vpc_id: at least two subnets in different zones for tasks, database and cache; they need a way out (NAT gateway) to AWS and to the models."
  type        = list(string)
  default     = []

  validation {
    condition     = (var.vpc_id == null) == (length(var.private_subnet_ids) == 0)
    error_message = "Give private_subnet_ids with vpc_id, and only with it."
  }

  validation {
    condition     = length(var.private_subnet_ids) != 1
    error_message = "At least two private_subnet_ids are needed, in different zones."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the VPC that is made when vpc_id is null; a /16 to /20 that overlaps with no network you will connect."
  type        = string
  default     = "10.40.0.0/16"

  validation {
    condition     = can(cidrhost(var.vpc_cidr, 0)) && try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 20, false)
    error_message = "vpc_cidr is an IPv4 network from /16 to /20, like 10.40.0.0/16."
  }
}

variable "zone_count" {
  description = "Availability zones of the VPC that is made: 2 or 3."
  type        = number
  default     = 2

  validation {
    condition     = contains([2, 3], var.zone_count)
    error_message = "zone_count is 2 or 3."
  }
}

# --- Address ---------------------------------------------------------------------------------------------------------

variable "domain_name" {
  description = "Host name that people use, like chat.amplify.example.edu. With route53_zone_id its certificate and record are made; without, point a CNAME to the output alb_dns_name. null leaves the load balancer's own name, which no certificate fits: clients and the deploy's question then refuse it."
  type        = string
  default     = null

  validation {
    condition     = var.domain_name == null || can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.domain_name))
    error_message = "domain_name is a full host name in lower case, without https://."
  }
}

variable "route53_zone_id" {
  description = "Hosted zone of Route 53 that domain_name is in. null leaves DNS alone."
  type        = string
  default     = null

  validation {
    condition     = var.route53_zone_id == null || can(regex("^[A-Z0-9]{8,32}$", var.route53_zone_id))
    error_message = "route53_zone_id is the id of a hosted zone, like Z0123456789ABCDEFGHIJ, or null."
  }

  validation {
    condition     = var.route53_zone_id == null || var.domain_name != null
    error_message = "route53_zone_id needs domain_name: the record to make there."
  }
}

variable "certificate_arn" {
  description = "ACM certificate for the load balancer, issued in aws_region. null makes one for domain_name in route53_zone_id."
  type        = string
  default     = null

  validation {
    condition     = var.certificate_arn == null || can(regex("^arn:[a-z-]+:acm:[a-z0-9-]+:[0-9]{12}:certificate/.+$", var.certificate_arn))
    error_message = "certificate_arn is the ARN of an ACM certificate."
  }

  validation {
    condition     = var.certificate_arn != null || var.route53_zone_id != null
    error_message = "HTTPS needs a certificate: give certificate_arn, or domain_name and route53_zone_id to have one made."
  }
}

variable "internal" {
  description = "true: the load balancer has private addresses only, for a service behind a VPN or another gateway."
  type        = bool
  default     = false
}

variable "allowed_cidrs" {
  description = "IPv4 networks that may reach the load balancer. The default is everybody: signing in is the service's business."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = length(var.allowed_cidrs) > 0 && alltrue([for cidr in var.allowed_cidrs : can(cidrhost(cidr, 0))])
    error_message = "allowed_cidrs is a list of IPv4 networks, like 192.0.2.0/24."
  }
}

variable "web_acl_arn" {
  description = "AWS WAF web ACL (REGIONAL) to put before the load balancer. Rules that read bodies should allow 50 MB, BODY_MAX_MB. null: none."
  type        = string
  default     = null

  validation {
    condition     = var.web_acl_arn == null || can(regex("^arn:[a-z-]+:wafv2:[a-z0-9-]+:[0-9]{12}:regional/webacl/.+$", var.web_acl_arn))
    error_message = "web_acl_arn is the ARN of a regional WAFv2 web ACL."
  }
}

# --- Keeping ---------------------------------------------------------------------------------------------------------

variable "deletion_protection" {
  description = "true: load balancer, database and access logs refuse to be destroyed, and a database leaves a last snapshot. null: as the environment is prod or not."
  type        = bool
  default     = null
}

variable "kms_key_arn" {
  description = "KMS key for logs, secrets, images, alarms, database and cache. null makes one that these services may use and that rotates yearly. A given key's policy must let CloudWatch Logs and CloudWatch alarms use it."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "kms_key_arn is the ARN of a key (not of an alias)."
  }
}

variable "access_log_days" {
  description = "Days to keep the load balancer's access logs. They hold addresses of people, no text."
  type        = number
  default     = 90

  validation {
    condition     = var.access_log_days >= 1 && floor(var.access_log_days) == var.access_log_days
    error_message = "access_log_days is a whole number of days, 1 or more."
  }
}

variable "log_retention_days" {
  description = "Days to keep the service's logs: ids, sizes and times, no prompts and no answers."
  type        = number
  default     = 365

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days is one of the periods CloudWatch knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827 or more."
  }
}

variable "alarm_emails" {
  description = "Addresses that get the alarms; each confirms by a mail from AWS. Others can subscribe to the topic in the output alarm_topic_arn."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.alarm_emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", address))])
    error_message = "alarm_emails is a list of mail addresses."
  }
}
