# What the service talks to: its environment, its secrets, the platform, database and cache.

variable "state_backend" {
  description = "Where keys, groups, assistants and files are: \"database\" (this service alone) or \"dynamodb\" (the tables of the Amplify platform of this deployment_name and environment). The ledger is in PostgreSQL either way."
  type        = string
  default     = "database"

  validation {
    condition     = contains(["database", "dynamodb"], var.state_backend)
    error_message = "state_backend is database or dynamodb."
  }
}

variable "cognito_user_pool_id" {
  description = "Cognito user pool whose access tokens count, like us-east-1_AbCdEfGhI. null: API keys only (or OIDC_* in extra_environment)."
  type        = string
  default     = null

  validation {
    condition     = var.cognito_user_pool_id == null || can(regex("^[a-z0-9-]+_[A-Za-z0-9]+$", var.cognito_user_pool_id))
    error_message = "cognito_user_pool_id looks like us-east-1_AbCdEfGhI."
  }
}

variable "cognito_client_id" {
  description = "The app client of that pool."
  type        = string
  default     = null

  validation {
    condition     = (var.cognito_client_id == null) == (var.cognito_user_pool_id == null)
    error_message = "Give cognito_client_id with cognito_user_pool_id, and only with it."
  }
}

variable "idp_prefix" {
  description = "Prefix that Cognito puts before user names for your identity provider, without the underscore; it is left off."
  type        = string
  default     = ""
}

variable "api_base_url" {
  description = "The platform's API, https://<CUSTOM_API_DOMAIN>, for models, ops, files and retrieval. Needed with state_backend = \"dynamodb\"."
  type        = string
  default     = null

  validation {
    condition     = var.api_base_url == null || can(regex("^https://[^/ ]+[^/ ]$", var.api_base_url))
    error_message = "api_base_url starts with https:// and has no path."
  }

  validation {
    condition     = var.state_backend == "database" || var.api_base_url != null
    error_message = "state_backend = \"dynamodb\" needs api_base_url, the platform's https://<CUSTOM_API_DOMAIN>."
  }
}

variable "agent_endpoint" {
  description = "Where agent runs are posted (AGENT_ENDPOINT). null: derived from api_base_url by the service."
  type        = string
  default     = null

  validation {
    condition     = var.agent_endpoint == null || can(regex("^https://", var.agent_endpoint))
    error_message = "agent_endpoint starts with https://."
  }
}

variable "allowed_origins" {
  description = "Origins whose web pages may call, like https://amplify.example.edu. [\"*\"] lets every page call with a key or token, never with a cookie."
  type        = list(string)
  default     = ["*"]

  validation {
    condition     = length(var.allowed_origins) > 0 && alltrue([for origin in var.allowed_origins : origin == "*" || can(regex("^https?://[^/ ,]+$", origin))])
    error_message = "Each of allowed_origins is \"*\" or scheme and host, like https://amplify.example.edu."
  }
}

variable "log_level" {
  description = "The least that is logged: DEBUG, INFO, WARNING, ERROR or CRITICAL."
  type        = string
  default     = "INFO"

  validation {
    condition     = contains(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], var.log_level)
    error_message = "log_level is DEBUG, INFO, WARNING, ERROR or CRITICAL."
  }
}

variable "extra_environment" {
  description = "Any other variable of docs/configuration.md, like STREAM_FORMAT or OPENAI_MODELS. What is secret belongs into extra_secrets: this is readable in the console."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.extra_environment) : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name))])
    error_message = "Names in extra_environment have letters, digits and underscores."
  }

  validation {
    condition     = alltrue([for name in keys(var.extra_environment) : !can(regex("(_KEY|_SECRET|_TOKEN|PASSWORD|DATABASE_URL|REDIS_URL|BEARER_TOKEN_BEDROCK)$", name))])
    error_message = "A key, token, password or URL with a password was put into extra_environment; store it in Secrets Manager and give its ARN in extra_secrets."
  }

  validation {
    condition     = length(setintersection(keys(var.extra_environment), keys(local.own_environment))) == 0
    error_message = "extra_environment names a variable that this configuration sets itself: ${join(", ", setintersection(keys(var.extra_environment), keys(local.own_environment)))}."
  }
}

variable "extra_secrets" {
  description = "Secret variables, like OPENAI_API_KEY or OIDC_CLIENT_SECRET: a map from the name to the ARN of a secret (or <ARN>:<JSON key>::)."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for arn in values(var.extra_secrets) : can(regex("^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[^:]+(:[^:]*:[^:]*:[^:]*)?$", arn))])
    error_message = "Values of extra_secrets are ARNs of Secrets Manager, never the secrets themselves."
  }

  validation {
    condition     = length(setintersection(keys(var.extra_secrets), concat(keys(var.extra_environment), ["SECRET_KEY", "METRICS_TOKEN", "DATABASE_URL", "REDIS_URL"]))) == 0
    error_message = "A name in extra_secrets is in extra_environment too, or has a variable of its own (secret_key_secret_arn, metrics_token_secret_arn, database_url_secret_arn, redis_url_secret_arn)."
  }
}

# --- Secrets: given by ARN, or made ----------------------------------------------------------------------------------

variable "secret_key_secret_arn" {
  description = "Secret that holds SECRET_KEY, which signs sessions. null makes one with a random value."
  type        = string
  default     = null

  validation {
    condition     = var.secret_key_secret_arn == null || can(regex("^arn:[a-z-]+:secretsmanager:", var.secret_key_secret_arn))
    error_message = "secret_key_secret_arn is the ARN of a secret."
  }
}

variable "metrics_token_secret_arn" {
  description = "Secret that holds METRICS_TOKEN, which a scraper of /metrics sends. null makes one with a random value."
  type        = string
  default     = null

  validation {
    condition     = var.metrics_token_secret_arn == null || can(regex("^arn:[a-z-]+:secretsmanager:", var.metrics_token_secret_arn))
    error_message = "metrics_token_secret_arn is the ARN of a secret."
  }
}

variable "secrets_version" {
  description = "Counts up to replace the secrets made here by new random ones (sessions end; the database gets its new password in the same apply). Start new tasks afterwards."
  type        = number
  default     = 1

  validation {
    condition     = var.secrets_version >= 1 && floor(var.secrets_version) == var.secrets_version
    error_message = "secrets_version is a whole number, 1 or more."
  }
}

variable "llm_endpoints_secret_arn" {
  description = "Secret with the pools of model endpoints (docs/configuration.md). null: with state_backend = \"dynamodb\" the platform's <stage>-openai-endpoints, else none."
  type        = string
  default     = null

  validation {
    condition     = var.llm_endpoints_secret_arn == null || can(regex("^arn:[a-z-]+:secretsmanager:", var.llm_endpoints_secret_arn))
    error_message = "llm_endpoints_secret_arn is the ARN of a secret."
  }
}

variable "app_secrets_arn" {
  description = "Secret with OPENAI_API_KEY, GEMINI_API_KEY, ANTHROPIC_API_KEY inside (SECRETS_ARN_NAME). null: with state_backend = \"dynamodb\" the platform's <stage>-amplify-app-secrets, else none."
  type        = string
  default     = null

  validation {
    condition     = var.app_secrets_arn == null || can(regex("^arn:[a-z-]+:secretsmanager:", var.app_secrets_arn))
    error_message = "app_secrets_arn is the ARN of a secret."
  }
}

# --- Bedrock ---------------------------------------------------------------------------------------------------------

variable "bedrock_models" {
  description = "Model or inference profile ids of Bedrock that the service offers and may call, like us.anthropic.claude-sonnet-4-5-20250929-v1:0."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.bedrock_models : can(regex("^[a-z0-9.-]+(:[0-9a-z]+)*$", id))])
    error_message = "Each of bedrock_models is the id of a model or an inference profile, not an ARN."
  }
}

variable "bedrock_any_model" {
  description = "true: the service may call every Bedrock model that the account has access to. null: only with state_backend = \"dynamodb\", where the platform's price table names the models."
  type        = bool
  default     = null
}

variable "bedrock_guardrail_id" {
  description = "Id of a Bedrock guardrail in aws_region for every call. null: none."
  type        = string
  default     = null

  validation {
    condition     = var.bedrock_guardrail_id == null || can(regex("^[a-z0-9]+$", var.bedrock_guardrail_id))
    error_message = "bedrock_guardrail_id is a guardrail's id (lower-case letters and digits), not its ARN."
  }
}

variable "bedrock_guardrail_version" {
  description = "Version of that guardrail: a number or DRAFT."
  type        = string
  default     = null

  validation {
    condition     = (var.bedrock_guardrail_version == null) == (var.bedrock_guardrail_id == null)
    error_message = "Give bedrock_guardrail_version with bedrock_guardrail_id, and only with it."
  }
}

# --- The platform ----------------------------------------------------------------------------------------------------

variable "platform_names" {
  description = "With state_backend = \"dynamodb\": names of tables, buckets, queues and secrets that are not the usual ones (platform.tf), by environment variable, like { API_KEYS_DYNAMODB_TABLE = \"our-keys\" }."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.platform_names), keys(local.platform_defaults))) == 0
    error_message = "platform_names has a name that platform.tf does not know: ${join(", ", setsubtract(keys(var.platform_names), keys(local.platform_defaults)))}."
  }

  validation {
    condition     = alltrue([for name in values(var.platform_names) : can(regex("^[A-Za-z0-9._/-]{3,255}$", name))])
    error_message = "Values of platform_names are plain names, not ARNs or URLs."
  }
}

variable "roll_platform_costs" {
  description = "Begin each day in the platform's cost counters at 00:00 UTC, in place of the platform's own nightly job: switch its rule in EventBridge off first."
  type        = bool
  default     = false

  validation {
    condition     = !var.roll_platform_costs || var.state_backend == "dynamodb"
    error_message = "roll_platform_costs needs state_backend = \"dynamodb\": there are no counters of a platform otherwise."
  }
}

variable "import_platform_usage_hours" {
  description = "Every so many hours (1, 2, 3, 4, 6, 8, 12 or 24), bring the calls of the platform's other services into the ledger, to see them in the usage review. Each time reads the whole table. 0: never."
  type        = number
  default     = 0

  validation {
    condition     = contains([0, 1, 2, 3, 4, 6, 8, 12, 24], var.import_platform_usage_hours)
    error_message = "import_platform_usage_hours is 1, 2, 3, 4, 6, 8, 12 or 24, or 0 for never."
  }

  validation {
    condition     = var.import_platform_usage_hours == 0 || var.state_backend == "dynamodb"
    error_message = "import_platform_usage_hours needs state_backend = \"dynamodb\": there is nothing to import otherwise."
  }
}

variable "platform_policy_arns" {
  description = "Managed policies for the task role in place of the ones written here, as today: amplify-<name>-amplify-js-<stage>-iam-policy and -bedrock-policy. [] writes policies with the least rights for each table, bucket, queue and secret."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.platform_policy_arns : can(regex("^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/.+$", arn))])
    error_message = "platform_policy_arns is a list of ARNs of managed policies."
  }
}

variable "platform_kms_key_arns" {
  description = "Customer managed KMS keys that the platform's tables, buckets, queues or the given secrets are encrypted with; the roles may decrypt with them. [] if they use AWS's own keys."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.platform_kms_key_arns : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", arn))])
    error_message = "platform_kms_key_arns is a list of ARNs of keys."
  }
}

# --- PostgreSQL and Valkey: given, or made ---------------------------------------------------------------------------

variable "database_url_secret_arn" {
  description = "Secret that holds DATABASE_URL, postgres://user:password@host/name?sslmode=require, of a database you have; open the way to it in extra_egress. null makes a PostgreSQL on RDS."
  type        = string
  default     = null

  validation {
    condition     = var.database_url_secret_arn == null || can(regex("^arn:[a-z-]+:secretsmanager:", var.database_url_secret_arn))
    error_message = "database_url_secret_arn is the ARN of a secret."
  }
}

variable "database_instance_class" {
  description = "Size of the PostgreSQL that is made. A row of the ledger is one write a model call: the small ones carry hundreds a second."
  type        = string
  default     = "db.t4g.medium"

  validation {
    condition     = can(regex("^db\\.[a-z0-9-]+\\.[a-z0-9]+$", var.database_instance_class))
    error_message = "database_instance_class looks like db.t4g.medium."
  }
}

variable "database_storage_gb" {
  description = "Storage to begin with; it grows by itself up to ten times that."
  type        = number
  default     = 50

  validation {
    condition     = var.database_storage_gb >= 20 && var.database_storage_gb <= 6000
    error_message = "database_storage_gb is 20 to 6000."
  }
}

variable "database_backup_days" {
  description = "Days that can be gone back to."
  type        = number
  default     = 14

  validation {
    condition     = var.database_backup_days >= 1 && var.database_backup_days <= 35
    error_message = "database_backup_days is 1 to 35."
  }
}

variable "redis_url_secret_arn" {
  description = "Secret that holds REDIS_URL, rediss://[:password@]host:6379/0, of a Redis or Valkey (not in cluster mode) you have; open the way to it in extra_egress. null makes a Valkey on ElastiCache."
  type        = string
  default     = null

  validation {
    condition     = var.redis_url_secret_arn == null || can(regex("^arn:[a-z-]+:secretsmanager:", var.redis_url_secret_arn))
    error_message = "redis_url_secret_arn is the ARN of a secret."
  }
}

variable "cache_node_type" {
  description = "Size of the Valkey that is made. It holds the logs of running answers and of those that ended within a minute, and counts of rate limits."
  type        = string
  default     = "cache.t4g.small"

  validation {
    condition     = can(regex("^cache\\.[a-z0-9-]+\\.[a-z0-9]+$", var.cache_node_type))
    error_message = "cache_node_type looks like cache.t4g.small."
  }
}
