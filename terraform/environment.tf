# The service's environment: what docs/configuration.md lists. Secrets go by ARN; ECS reads them when a task starts.

locals {
  platform_environment = !local.joins_platform ? {} : merge(
    { for variable in setsubtract(keys(local.platform_defaults), keys(local.platform_secrets)) : variable => local.platform_name[variable] },
    {
      # The names that older revisions of the platform use for the same tables.
      ADMIN_DYNAMODB_TABLE = local.platform_name["AMPLIFY_ADMIN_DYNAMODB_TABLE"]
      GROUPS_DYNAMO_TABLE  = local.platform_name["ASSISTANT_GROUPS_DYNAMO_TABLE"]

      # Queues go by URL; the platform's own variables hold a name here and a URL there.
      assistant_task_queue_url        = local.queue_url["ASSISTANT_QUEUE_NAME"]
      CONVERSATION_ANALYSIS_QUEUE_URL = local.queue_url["CONVERSATION_ANALYSIS_QUEUE_URL"]
    },
  )
  queue_url = { for variable in keys(local.queues) :
    variable => "https://sqs.${var.aws_region}.${data.aws_partition.here.dns_suffix}/${data.aws_caller_identity.here.account_id}/${local.platform_name[variable]}"
  }

  # An empty value counts as unset, and is left out below.
  own_environment = merge(local.platform_environment, {
    HOST            = "0.0.0.0"
    PORT            = tostring(local.port)
    AWS_REGION      = var.aws_region
    DEP_REGION      = var.aws_region # the platform's name for it
    DEP_NAME        = var.deployment_name
    STAGE           = var.environment
    SERVICE_NAME    = local.name # the dimension of the metric that autoscaling reads
    LOG_LEVEL       = var.log_level
    ALLOWED_ORIGINS = join(",", var.allowed_origins)
    ALLOWED_HOSTS   = var.domain_name == null ? "*" : var.domain_name
    JOURNAL_DIR     = "/tmp/journal" # the only place a task may write to; it outlives the process, not the task
    EMBEDDED_MODEL  = "off"          # for laptops; it would take the memory of a thousand streams

    STATE_BACKEND        = var.state_backend
    COGNITO_USER_POOL_ID = var.cognito_user_pool_id == null ? "" : var.cognito_user_pool_id
    COGNITO_CLIENT_ID    = var.cognito_client_id == null ? "" : var.cognito_client_id
    IDP_PREFIX           = var.idp_prefix
    ROLL_PLATFORM_COSTS  = var.roll_platform_costs ? "on" : ""
    API_BASE_URL         = var.api_base_url == null ? "" : var.api_base_url
    AGENT_ENDPOINT       = var.agent_endpoint == null ? "" : var.agent_endpoint

    IMPORT_PLATFORM_USAGE_HOURS = var.import_platform_usage_hours == 0 ? "" : tostring(var.import_platform_usage_hours)

    LLM_ENDPOINTS_SECRETS_NAME     = local.joins_platform && var.llm_endpoints_secret_arn == null ? local.platform_name["LLM_ENDPOINTS_SECRETS_NAME"] : ""
    LLM_ENDPOINTS_SECRETS_NAME_ARN = var.llm_endpoints_secret_arn == null ? "" : var.llm_endpoints_secret_arn
    SECRETS_ARN_NAME               = var.app_secrets_arn != null ? var.app_secrets_arn : local.joins_platform ? local.platform_name["SECRETS_ARN_NAME"] : ""

    BEDROCK_MODELS            = join(",", var.bedrock_models)
    BEDROCK_GUARDRAIL_ID      = var.bedrock_guardrail_id == null ? "" : var.bedrock_guardrail_id
    BEDROCK_GUARDRAIL_VERSION = var.bedrock_guardrail_version == null ? "" : var.bedrock_guardrail_version

    HEARTBEAT_SECONDS           = tostring(local.timing.heartbeat)
    RUN_DEADLINE_SECONDS        = tostring(local.timing.longest_stream)
    KEEP_ALIVE_SECONDS          = tostring(local.timing.keep_alive)
    DRAIN_SECONDS               = tostring(local.timing.drain)
    UPSTREAM_CONNECT_SECONDS    = tostring(local.timing.upstream_connect)
    UPSTREAM_FIRST_BYTE_SECONDS = tostring(local.timing.upstream_first_byte)
    UPSTREAM_GAP_SECONDS        = tostring(local.timing.upstream_gap)

    # The cache made here has no password: TLS, and a security group that lets tasks alone in.
    REDIS_URL = local.makes_cache ? module.cache[0].url : ""

    OTEL_SERVICE_NAME           = var.tracing ? local.name : ""
    OTEL_EXPORTER_OTLP_ENDPOINT = var.tracing ? "http://localhost:4318" : ""
    OTEL_EXPORTER_OTLP_PROTOCOL = var.tracing ? "http/protobuf" : ""
    OTEL_TRACES_SAMPLER         = var.tracing ? "parentbased_traceidratio" : ""
    OTEL_TRACES_SAMPLER_ARG     = var.tracing ? tostring(var.trace_percent / 100) : ""
    OTEL_PROPAGATORS            = var.tracing ? "tracecontext,baggage,xray" : "" # xray: the load balancer's X-Amzn-Trace-Id
  })

  environment = merge({ for name, value in local.own_environment : name => value if value != "" }, var.extra_environment)

  secrets = merge(
    {
      SECRET_KEY    = var.secret_key_secret_arn != null ? var.secret_key_secret_arn : module.secret["secret-key"].arn
      METRICS_TOKEN = var.metrics_token_secret_arn != null ? var.metrics_token_secret_arn : module.secret["metrics-token"].arn
      DATABASE_URL  = var.database_url_secret_arn != null ? var.database_url_secret_arn : module.database[0].url_secret_arn
    },
    var.redis_url_secret_arn == null ? {} : { REDIS_URL = var.redis_url_secret_arn },
    var.extra_secrets,
  )
}
