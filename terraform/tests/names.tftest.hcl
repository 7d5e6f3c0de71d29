# What the deployment is called, how it is reached and what it is told, with as little given as can be.
# The secrets are given: Terraform 1.11 cannot mock the ephemeral values that new ones are drawn from. That they are made
# is seen in tests/infra/test_terraform.py, which applies all of it to a server that plays AWS.

mock_provider "aws" {
  source = "./tests/mocks"
}

# Never asked anything, as nothing is drawn.
provider "aws" {
  alias                       = "secrets"
  region                      = "us-east-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

variables {
  deployment_name          = "uni"
  environment              = "dev"
  certificate_arn          = "arn:aws:acm:us-east-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"
  secret_key_secret_arn    = "arn:aws:secretsmanager:us-east-1:123456789012:secret:key-AbCdEf"
  metrics_token_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:token-AbCdEf"
  database_url_secret_arn  = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf"
}

run "alone" {
  command = plan

  assert {
    condition     = output.ecs_service_name == "amplify-uni-chat-dev" && output.ecs_cluster_name == "amplify-uni-chat-dev" && output.task_definition_family == "amplify-uni-chat-dev"
    error_message = "Cluster, service and family are named after the deployment and its stage."
  }

  assert {
    condition     = output.ecr_repository_name == "amplify-uni-chat-dev" && output.log_group_name == "/ecs/amplify-uni-chat-dev" && output.container_name == "chat"
    error_message = "Repository, log group and container have the names that deploys look for."
  }

  assert {
    condition     = local.environment["HOST"] == "0.0.0.0" && local.environment["PORT"] == "8080" && local.environment["EMBEDDED_MODEL"] == "off"
    error_message = "The container listens on 8080 for everybody, and brings no model of its own."
  }

  assert {
    condition     = local.environment["STATE_BACKEND"] == "database" && length(local.platform_environment) == 0
    error_message = "Without the platform nothing of the platform is named."
  }

  assert {
    condition     = alltrue([for value in values(local.environment) : value != ""])
    error_message = "An empty variable is left out."
  }

  assert {
    condition     = join(",", keys(output.secret_arns)) == "DATABASE_URL,METRICS_TOKEN,SECRET_KEY"
    error_message = "Exactly these are secrets by default."
  }

  assert {
    condition     = length(setintersection(keys(local.environment), keys(local.secrets))) == 0
    error_message = "No variable is both plain and secret: ECS refuses that."
  }

  assert {
    condition     = output.desired_count == 2 && join(" ", output.one_off_task.migrate) == "migrate --noinput"
    error_message = "A deploy finds what it needs for the first start and for migrations."
  }

  assert {
    condition     = length(module.network) == 1 && length(module.database) == 0 && length(module.cache) == 1
    error_message = "What is not given is made, and what is given is not."
  }
}

run "times_fit_together" {
  command = plan

  assert {
    condition     = local.timing.keep_alive > local.timing.idle
    error_message = "The load balancer must be the one that closes an idle connection, or it answers 502."
  }

  assert {
    condition     = local.timing.idle >= 4 * local.timing.heartbeat
    error_message = "Some heartbeats may be lost before the load balancer gives a stream up."
  }

  assert {
    condition     = local.timing.deregistration > local.timing.longest_stream && local.timing.stop > local.timing.drain && local.timing.stop <= 120
    error_message = "The longest stream ends before its task is stopped, and the drain before it is killed."
  }

  assert {
    condition     = local.timing.heartbeat == 15 && local.timing.idle == 120 && local.timing.keep_alive == 150 && local.timing.upstream_connect == 5 && local.timing.upstream_first_byte == 60 && local.timing.upstream_gap == 60 && local.timing.longest_stream == 840 && local.timing.deregistration == 900 && local.timing.stop == 120 && local.timing.drain == 110 && local.timing.ready_every == 15
    error_message = "These are the times of docs/architecture.md, section 10; change both."
  }

  assert {
    condition     = local.environment["HEARTBEAT_SECONDS"] == "15" && local.environment["KEEP_ALIVE_SECONDS"] == "150" && local.environment["DRAIN_SECONDS"] == "110" && local.environment["RUN_DEADLINE_SECONDS"] == "840" && local.environment["UPSTREAM_CONNECT_SECONDS"] == "5" && local.environment["UPSTREAM_FIRST_BYTE_SECONDS"] == "60" && local.environment["UPSTREAM_GAP_SECONDS"] == "60"
    error_message = "The service is told the same times that AWS is."
  }
}

run "beside_a_platform" {
  command = plan

  variables {
    state_backend        = "dynamodb"
    environment          = "prod"
    api_base_url         = "https://api.example.edu"
    cognito_user_pool_id = "us-east-1_AbCdEfGhI"
    cognito_client_id    = "client"
    idp_prefix           = "uni"
    platform_names       = { API_KEYS_DYNAMODB_TABLE = "our-own-keys" }
    roll_platform_costs  = true

    import_platform_usage_hours = 24
  }

  assert {
    condition     = local.environment["ROLL_PLATFORM_COSTS"] == "on" && local.environment["IMPORT_PLATFORM_USAGE_HOURS"] == "24"
    error_message = "The jobs of the night are switched on."
  }

  assert {
    condition     = local.environment["CHAT_USAGE_DYNAMO_TABLE"] == "amplify-uni-lambda-prod-chat-usage" && local.environment["COST_CALCULATIONS_DYNAMO_TABLE"] == "amplify-uni-lambda-prod-cost-calculations" && local.environment["HISTORY_COST_CALCULATIONS_DYNAMO_TABLE"] == "amplify-uni-lambda-prod-history-cost-calculations"
    error_message = "Usage tables have the platform's names."
  }

  assert {
    condition     = local.environment["MODEL_RATE_TABLE"] == "amplify-uni-chat-billing-prod-model-rates" && local.environment["REQUEST_STATE_DYNAMO_TABLE"] == "amplify-uni-amplify-js-prod-request-state" && local.environment["ASSISTANTS_DYNAMODB_TABLE"] == "amplify-uni-assistants-prod-assistants" && local.environment["COGNITO_USERS_DYNAMODB_TABLE"] == "amplify-uni-object-access-prod-cognito-users"
    error_message = "Each table belongs to the service that the platform gives it to."
  }

  assert {
    condition     = local.environment["ADMIN_DYNAMODB_TABLE"] == "amplify-uni-admin-prod-admin-configs" && local.environment["AMPLIFY_ADMIN_DYNAMODB_TABLE"] == local.environment["ADMIN_DYNAMODB_TABLE"] && local.environment["GROUPS_DYNAMO_TABLE"] == local.environment["ASSISTANT_GROUPS_DYNAMO_TABLE"]
    error_message = "Renamed variables are set under both names."
  }

  assert {
    condition     = local.environment["API_KEYS_DYNAMODB_TABLE"] == "our-own-keys" && contains(keys(local.rights.tables), "arn:aws:dynamodb:us-east-1:123456789012:table/our-own-keys") && !contains(keys(local.rights.tables), "arn:aws:dynamodb:us-east-1:123456789012:table/amplify-uni-object-access-prod-api-keys")
    error_message = "A name that is overridden is overridden in the environment and in the rights."
  }

  assert {
    condition     = local.environment["ASSISTANT_TASK_RESULTS_BUCKET_NAME"] == "amplify-uni-amplify-uni-amplify-js-prod-ast-results" && local.environment["assistant_task_queue_url"] == "https://sqs.us-east-1.amazonaws.com/123456789012/amplify-uni-amplify-uni-amplify-js-prod-assistant-queue"
    error_message = "The doubled prefixes are the platform's own."
  }

  assert {
    condition     = local.environment["LLM_ENDPOINTS_SECRETS_NAME"] == "prod-openai-endpoints" && local.environment["SECRETS_ARN_NAME"] == "prod-amplify-app-secrets" && length(local.rights.secrets) == 2
    error_message = "The platform's secrets are named, and may be read."
  }

  assert {
    condition     = length(local.rights.tables) == length(local.tables) && length(local.rights.buckets) == length(local.buckets) && length(local.rights.queues) == length(local.queues)
    error_message = "There is a right for each table, bucket and queue."
  }

  assert {
    condition     = alltrue(flatten([for kind in ["tables", "buckets", "queues"] : [for actions in values(local.rights[kind]) : [for action in actions : !strcontains(action, "*")]]]))
    error_message = "Rights name actions, no families of them."
  }
}

run "into_a_network_there_is" {
  command = plan

  variables {
    vpc_id               = "vpc-0a1b2c3d4e5f67890"
    public_subnet_ids    = ["subnet-1", "subnet-2"]
    private_subnet_ids   = ["subnet-3", "subnet-4"]
    redis_url_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:redis-AbCdEf"
    extra_egress         = { database = { port = 5432, cidr = "10.0.0.0/16" } }
    domain_name          = "chat.example.edu"
  }

  assert {
    condition     = output.vpc_id == "vpc-0a1b2c3d4e5f67890" && join(",", output.one_off_task.subnets) == "subnet-3,subnet-4" && length(module.network) == 0
    error_message = "A given VPC is used and none is made."
  }

  assert {
    condition     = output.redis_url == null && output.database_endpoint == null && output.secret_arns["REDIS_URL"] == "arn:aws:secretsmanager:us-east-1:123456789012:secret:redis-AbCdEf" && !contains(keys(local.environment), "REDIS_URL")
    error_message = "A given cache comes as a secret."
  }

  assert {
    condition     = output.service_endpoint == "https://chat.example.edu" && local.environment["ALLOWED_HOSTS"] == "chat.example.edu"
    error_message = "The service answers to its own name."
  }
}

run "bedrock_by_model" {
  command = plan

  variables {
    bedrock_models            = ["us.anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon.nova-pro-v1:0"]
    bedrock_guardrail_id      = "abc123"
    bedrock_guardrail_version = "1"
  }

  assert {
    condition     = contains(local.rights.models, "arn:aws:bedrock:*::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0") && contains(local.rights.models, "arn:aws:bedrock:*:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0") && contains(local.rights.models, "arn:aws:bedrock:*::foundation-model/amazon.nova-pro-v1:0")
    error_message = "A profile needs the right to itself and to its model."
  }

  assert {
    condition     = local.rights.guardrail == "arn:aws:bedrock:us-east-1:123456789012:guardrail/abc123" && local.environment["BEDROCK_GUARDRAIL_VERSION"] == "1"
    error_message = "The guardrail is told and allowed."
  }
}
