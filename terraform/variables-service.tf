# How much of the service runs, and how it grows.

variable "image" {
  description = "Image of the first task definition, by digest or tag, from the repository made here or from a public one. Later images come by deploys (ansible/), which Terraform leaves alone. null: there is no image yet, so the service starts with no task and the first deploy sets desired_count."
  type        = string
  default     = null

  validation {
    condition     = var.image == null || can(regex("(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$", var.image)) && !endswith(coalesce(var.image, "-"), ":latest")
    error_message = "image ends in a tag other than latest, or in @sha256: and a digest."
  }
}

variable "cpu" {
  description = "CPU units of a task (1024 is one core); the service uses one core a process."
  type        = number
  default     = 1024

  validation {
    condition     = contains([512, 1024, 2048, 4096, 8192, 16384], var.cpu)
    error_message = "cpu is 512, 1024, 2048, 4096, 8192 or 16384."
  }
}

variable "memory" {
  description = "Memory of a task in MB, in the range Fargate has for this cpu. An open stream takes about 25 kB; documents being read take most."
  type        = number
  default     = 2048

  validation {
    condition = anytrue([
      var.cpu == 512 && contains([1024, 2048, 3072, 4096], var.memory),
      var.cpu == 1024 && var.memory >= 2048 && var.memory <= 8192 && var.memory % 1024 == 0,
      var.cpu == 2048 && var.memory >= 4096 && var.memory <= 16384 && var.memory % 1024 == 0,
      var.cpu == 4096 && var.memory >= 8192 && var.memory <= 30720 && var.memory % 1024 == 0,
      var.cpu == 8192 && var.memory >= 16384 && var.memory <= 61440 && var.memory % 4096 == 0,
      var.cpu == 16384 && var.memory >= 32768 && var.memory <= 122880 && var.memory % 8192 == 0,
    ])
    error_message = "Fargate has no such memory for this cpu. For cpu 512: 1024 to 4096; 1024: 2048 to 8192; 2048: 4096 to 16384; 4096: 8192 to 30720 (steps of 1024); 8192: 16384 to 61440 (4096); 16384: 32768 to 122880 (8192)."
  }
}

variable "cpu_architecture" {
  description = "What the image is built for: X86_64, or ARM64 (Graviton, about a fifth cheaper)."
  type        = string
  default     = "X86_64"

  validation {
    condition     = contains(["X86_64", "ARM64"], var.cpu_architecture)
    error_message = "cpu_architecture is X86_64 or ARM64."
  }
}

variable "desired_count" {
  description = "Tasks to start with. Afterwards autoscaling and deploys decide, and Terraform leaves their number alone."
  type        = number
  default     = 2

  validation {
    condition     = var.desired_count >= var.min_count && var.desired_count <= var.max_count
    error_message = "desired_count lies between min_count and max_count."
  }
}

variable "min_count" {
  description = "Fewest tasks. Two live through the loss of a zone."
  type        = number
  default     = 2

  validation {
    condition     = var.min_count >= 1 && floor(var.min_count) == var.min_count
    error_message = "min_count is a whole number, 1 or more."
  }
}

variable "max_count" {
  description = "Most tasks, and so the most this can cost. Each takes about 20 connections of the database."
  type        = number
  default     = 10

  validation {
    condition     = var.max_count >= var.min_count && floor(var.max_count) == var.max_count
    error_message = "max_count is a whole number, min_count or more."
  }
}

variable "cpu_target_percent" {
  description = "Average CPU use that autoscaling aims at."
  type        = number
  default     = 70

  validation {
    condition     = var.cpu_target_percent >= 10 && var.cpu_target_percent <= 90
    error_message = "cpu_target_percent is 10 to 90: above, there is no room left for new tasks to start."
  }
}

variable "memory_target_percent" {
  description = "Average memory use that autoscaling aims at."
  type        = number
  default     = 80

  validation {
    condition     = var.memory_target_percent >= 10 && var.memory_target_percent <= 90
    error_message = "memory_target_percent is 10 to 90."
  }
}

variable "streams_target_per_task" {
  description = "Open answer streams a task that autoscaling aims at. A core holds 400 at 50 tokens a second each; the default leaves room for the minutes a new task needs."
  type        = number
  default     = 200

  validation {
    condition     = var.streams_target_per_task >= 1 && var.streams_target_per_task <= 5000
    error_message = "streams_target_per_task is 1 to 5000."
  }
}

variable "spot_percent" {
  description = "Share of the tasks above min_count that run on Fargate Spot, in percent. Spot takes a task back with two minutes' notice: answers that need longer are cut, so prod wants 0."
  type        = number
  default     = 0

  validation {
    condition     = var.spot_percent >= 0 && var.spot_percent <= 100 && floor(var.spot_percent) == var.spot_percent
    error_message = "spot_percent is a whole number from 0 to 100."
  }
}

variable "https_egress_cidrs" {
  description = "IPv4 networks that tasks may reach on port 443. Model vendors and AWS publish no short list of theirs, so the default is everything; narrow it where all goes through a proxy or endpoints."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = alltrue([for cidr in var.https_egress_cidrs : can(cidrhost(cidr, 0))])
    error_message = "https_egress_cidrs is a list of IPv4 networks."
  }
}

variable "extra_egress" {
  description = "What else tasks may reach: a given database or cache, a model server of your own. A map from a name to port and network."
  type = map(object({
    port = number
    cidr = string
  }))
  default = {}

  validation {
    condition     = alltrue([for rule in values(var.extra_egress) : can(cidrhost(rule.cidr, 0)) && rule.port >= 1 && rule.port <= 65535])
    error_message = "Each of extra_egress has a port (1 to 65535) and an IPv4 network in cidr."
  }

  validation {
    condition     = alltrue([for rule in values(var.extra_egress) : rule.cidr != "0.0.0.0/0"])
    error_message = "extra_egress is for single networks; 0.0.0.0/0 would open that port to the whole Internet."
  }
}

variable "tracing" {
  description = "Run an OpenTelemetry collector (ADOT) beside the service and send its traces to X-Ray. Takes 256 MB of the task's memory at most."
  type        = bool
  default     = true
}

variable "collector_image" {
  description = "Image of the collector, with a tag or digest. A task that cannot pull it does not start, so where tasks reach no Internet name a copy in the repository made here, or leave tracing out."
  type        = string
  default     = "public.ecr.aws/aws-observability/aws-otel-collector:v0.45.0"

  validation {
    condition     = can(regex("(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$", var.collector_image)) && !endswith(var.collector_image, ":latest")
    error_message = "collector_image ends in a tag other than latest, or in @sha256: and a digest."
  }
}

variable "trace_percent" {
  description = "Share of the requests that are traced, in percent."
  type        = number
  default     = 5

  validation {
    condition     = var.trace_percent >= 0 && var.trace_percent <= 100
    error_message = "trace_percent is 0 to 100."
  }
}
