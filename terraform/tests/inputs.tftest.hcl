# A wrong value is refused before anything is made, by the variable that it was given to. Many at a time, as each run
# costs seconds.

mock_provider "aws" {
  source = "./tests/mocks"
}

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

run "misspelt" {
  command = plan

  variables {
    deployment_name         = "Uni"
    environment             = "production"
    aws_region              = "us_east_1"
    vpc_cidr                = "10.0.0.0/24" # too small for its subnets
    zone_count              = 1
    domain_name             = "https://chat.example.edu" # a name, no address
    allowed_cidrs           = ["everybody"]
    web_acl_arn             = "firewall"
    log_retention_days      = 100 # CloudWatch has no such period
    access_log_days         = 0
    alarm_emails            = ["operations"]
    kms_key_arn             = "arn:aws:kms:us-east-1:123456789012:alias/chat" # an alias
    cpu_architecture        = "arm"
    collector_image         = "collector" # no version
    log_level               = "TRACE"
    bedrock_models          = ["arn:aws:bedrock:us-east-1::foundation-model/x"] # no id
    platform_policy_arns    = ["amplify-uni-amplify-js-dev-iam-policy"]         # a name
    database_instance_class = "t4g.medium"
    cache_node_type         = "t4g.small"
    allowed_origins         = ["amplify.example.edu"]              # no scheme
    secret_key_secret_arn   = "a-secret-in-the-open"               # a value, no ARN
    redis_url_secret_arn    = "rediss://:password@host:6379/0"     # a value, no ARN
    database_url_secret_arn = "postgres://user:password@host/name" # a value, no ARN
  }

  expect_failures = [
    var.deployment_name,
    var.environment,
    var.aws_region,
    var.vpc_cidr,
    var.zone_count,
    var.domain_name,
    var.allowed_cidrs,
    var.web_acl_arn,
    var.log_retention_days,
    var.access_log_days,
    var.alarm_emails,
    var.kms_key_arn,
    var.cpu_architecture,
    var.collector_image,
    var.log_level,
    var.bedrock_models,
    var.platform_policy_arns,
    var.database_instance_class,
    var.cache_node_type,
    var.allowed_origins,
    var.secret_key_secret_arn,
    var.redis_url_secret_arn,
    var.database_url_secret_arn,
  ]
}

run "out_of_range" {
  command = plan

  variables {
    deployment_name         = "university-of-nowhere" # its load balancer's name would be too long
    cpu                     = 1000
    cpu_target_percent      = 99 # no room for new tasks to start
    memory_target_percent   = 5
    spot_percent            = 101
    streams_target_per_task = 0
    trace_percent           = -1
    min_count               = 0
    database_backup_days    = 40
    database_storage_gb     = 5
    secrets_version         = 1.5

    import_platform_usage_hours = 5 # no part of a day
  }

  expect_failures = [
    var.deployment_name,
    var.cpu,
    var.cpu_target_percent,
    var.memory_target_percent,
    var.spot_percent,
    var.streams_target_per_task,
    var.trace_percent,
    var.min_count,
    var.database_backup_days,
    var.database_storage_gb,
    var.secrets_version,
    var.import_platform_usage_hours,
  ]
}

run "alone_there_are_no_jobs_of_a_platform" {
  command = plan

  variables {
    state_backend               = "database"
    roll_platform_costs         = true
    import_platform_usage_hours = 24
  }

  expect_failures = [
    var.roll_platform_costs,
    var.import_platform_usage_hours,
  ]
}

run "does_not_go_together" {
  command = plan

  variables {
    public_subnet_ids    = ["subnet-1", "subnet-2"] # without their VPC
    certificate_arn      = null                     # HTTPS without a certificate or a way to one
    memory               = 16384                    # not with this cpu
    max_count            = 1                        # fewer than min_count
    state_backend        = "dynamodb"
    cognito_user_pool_id = "us-east-1_AbCdEfGhI"
    bedrock_guardrail_id = "abc123"
  }

  expect_failures = [
    var.public_subnet_ids,
    var.certificate_arn,
    var.memory,
    var.max_count,
    var.api_base_url,
    var.cognito_client_id,
    var.bedrock_guardrail_version,
  ]
}

run "one_zone_only" {
  command = plan

  variables {
    vpc_id             = "vpc-0a1b2c3d4e5f67890"
    public_subnet_ids  = ["subnet-1"]
    private_subnet_ids = ["subnet-2"]
  }

  expect_failures = [
    var.public_subnet_ids,
    var.private_subnet_ids,
  ]
}

run "network_without_subnets" {
  command = plan

  variables {
    vpc_id = "vpc-0a1b2c3d4e5f67890"
  }

  expect_failures = [
    var.public_subnet_ids,
    var.private_subnet_ids,
  ]
}

run "unsafe" {
  command = plan

  variables {
    image             = "123456789012.dkr.ecr.us-east-1.amazonaws.com/chat:latest" # can become another under the same name
    extra_egress      = { all = { port = 22, cidr = "0.0.0.0/0" } }                # open to the world
    extra_environment = { OPENAI_API_KEY = "sk-1" }                                # a secret in the open
  }

  expect_failures = [
    var.image,
    var.extra_egress,
    var.extra_environment,
  ]
}

run "taken" {
  command = plan

  variables {
    extra_environment = { PORT = "80" }         # set here already
    image             = "chat"                  # no version
    route53_zone_id   = "Z0123456789ABCDEFGHIJ" # without a name to put there
    desired_count     = 11                      # more than max_count
  }

  expect_failures = [
    var.extra_environment,
    var.image,
    var.route53_zone_id,
    var.desired_count,
  ]
}

run "table_that_nobody_reads" {
  command = plan

  variables {
    platform_names = { CHAT_USAGE_TABLE = "usage" }
  }

  expect_failures = [var.platform_names]
}

run "table_by_its_arn" {
  command = plan

  variables {
    platform_names = { CHAT_USAGE_DYNAMO_TABLE = "arn:aws:dynamodb:us-east-1:123456789012:table/usage" } # an ARN, no name
  }

  expect_failures = [var.platform_names]
}

run "secret_by_its_value" {
  command = plan

  variables {
    extra_secrets = { OPENAI_API_KEY = "sk-1" } # a secret by its value
  }

  expect_failures = [var.extra_secrets]
}

run "secret_given_twice" {
  command = plan

  variables {
    extra_secrets = { SECRET_KEY = "arn:aws:secretsmanager:us-east-1:123456789012:secret:other-AbCdEf" } # has a variable of its own
  }

  expect_failures = [var.extra_secrets]
}
