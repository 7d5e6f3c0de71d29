# What an Amplify platform calls its tables, buckets, queues and secrets, and what the service may do with each.
# The key is the environment variable that carries the name; var.platform_names overrides it.

data "aws_caller_identity" "here" {}
data "aws_partition" "here" {}

locals {
  joins_platform = var.state_backend == "dynamodb"

  # Each service of the platform names its things amplify-<deployment>-<service>-<stage>-<thing>.
  of = { for service in ["lambda", "chat-billing", "admin", "object-access", "assistants", "amplify-js"] :
    service => "amplify-${var.deployment_name}-${service}-${var.environment}"
  }

  tables = {
    CHAT_USAGE_DYNAMO_TABLE = {
      name = "${local.of["lambda"]}-chat-usage"
      may  = ["PutItem", "Scan"] # Scan: the importer, as no index is by time alone; transactions need no right of their own
    }
    COST_CALCULATIONS_DYNAMO_TABLE = {
      name = "${local.of["lambda"]}-cost-calculations"
      may  = ["GetItem", "Query", "Scan", "UpdateItem"] # Scan: whose calls to import, everybody's costs, the nightly job
    }
    HISTORY_COST_CALCULATIONS_DYNAMO_TABLE = {
      name = "${local.of["lambda"]}-history-cost-calculations"
      may  = ["Query", "UpdateItem"]
    }
    MODEL_RATE_TABLE = {
      name = "${local.of["chat-billing"]}-model-rates"
      may  = ["Scan"] # the whole catalogue, a hundred rows
    }
    ADDITIONAL_CHARGES_TABLE = {
      name = "${local.of["chat-billing"]}-additional-charges"
      may  = ["PutItem"]
    }
    AMPLIFY_ADMIN_DYNAMODB_TABLE = {
      name = "${local.of["admin"]}-admin-configs"
      may  = ["GetItem", "UpdateItem"] # Update: Amplify groups
    }
    API_KEYS_DYNAMODB_TABLE = {
      name = "${local.of["object-access"]}-api-keys"
      may  = ["GetItem", "PutItem", "Query", "Scan", "UpdateItem"] # Scan: a person's keys; no index is by owner or delegate
    }
    COGNITO_USERS_DYNAMODB_TABLE = {
      name = "${local.of["object-access"]}-cognito-users"
      may  = ["GetItem"]
    }
    ASSISTANT_GROUPS_DYNAMO_TABLE = {
      name = "${local.of["object-access"]}-amplify-groups"
      may  = ["DeleteItem", "GetItem", "PutItem", "Scan", "UpdateItem"] # Scan: a person's groups; members are inside the rows
    }
    ACCOUNTS_DYNAMO_TABLE = {
      name = "${local.of["lambda"]}-accounts"
      may  = ["GetItem", "UpdateItem"]
    }
    REQUEST_STATE_DYNAMO_TABLE = {
      name = "${local.of["amplify-js"]}-request-state"
      may  = ["DeleteItem", "GetItem", "PutItem", "UpdateItem"]
    }
    HASH_FILES_DYNAMO_TABLE = {
      name = "${local.of["lambda"]}-hash-files"
      may  = ["GetItem", "Query"]
    }
    DATASOURCE_REGISTRY_DYNAMO_TABLE = {
      name = "${local.of["amplify-js"]}-datasource-registry"
      may  = ["GetItem"]
    }
    ASSISTANTS_ALIASES_DYNAMODB_TABLE = {
      name = "${local.of["assistants"]}-assistant-aliases"
      may  = ["GetItem", "Query"]
    }
    ASSISTANTS_DYNAMODB_TABLE = {
      name = "${local.of["assistants"]}-assistants"
      may  = ["GetItem", "Query"]
    }
    ASSISTANT_LOOKUP_DYNAMODB_TABLE = {
      name = "${local.of["assistants"]}-assistant-lookup"
      may  = ["GetItem", "Query"]
    }
    LAYERED_ASSISTANTS_DYNAMODB_TABLE = {
      name = "${local.of["assistants"]}-layered-assistants"
      may  = ["GetItem", "Query"]
    }
    GROUP_ASSISTANT_CONVERSATIONS_DYNAMO_TABLE = {
      name = "${local.of["assistants"]}-group-assistant-conversations"
      may  = ["GetItem", "PutItem", "UpdateItem"]
    }
    USER_STORAGE_TABLE = {
      name = "${local.of["lambda"]}-user-data-storage"
      may  = ["GetItem", "Query"]
    }
  }

  buckets = {
    S3_FILE_TEXT_BUCKET_NAME                     = { name = "${local.of["lambda"]}-file-text", may = ["GetObject"] }
    S3_IMAGE_INPUT_BUCKET_NAME                   = { name = "${local.of["lambda"]}-image-input", may = ["GetObject"] }
    S3_RAG_INPUT_BUCKET_NAME                     = { name = "${local.of["lambda"]}-rag-input", may = ["GetObject"] }
    S3_CONSOLIDATION_BUCKET_NAME                 = { name = "${local.of["lambda"]}-consolidation", may = ["GetObject", "PutObject"] }
    S3_GROUP_ASSISTANT_CONVERSATIONS_BUCKET_NAME = { name = "${local.of["assistants"]}-group-conversations-content", may = ["GetObject", "PutObject"] }
    TRACE_BUCKET_NAME                            = { name = "${local.of["lambda"]}-chat-traces", may = ["PutObject"] }
    ASSISTANT_LOGS_BUCKET_NAME                   = { name = "amplify-${var.deployment_name}-${var.environment}-assistant-chat-logs", may = ["PutObject"] }

    # The doubled prefix is the platform's own.
    ASSISTANT_TASK_RESULTS_BUCKET_NAME = { name = "amplify-${var.deployment_name}-${local.of["amplify-js"]}-ast-results", may = ["GetObject", "PutObject"] }
  }

  queues = {
    ASSISTANT_QUEUE_NAME = {
      name = "amplify-${var.deployment_name}-${local.of["amplify-js"]}-assistant-queue"
      may  = ["ChangeMessageVisibility", "DeleteMessage", "GetQueueAttributes", "ReceiveMessage", "SendMessage"]
    }
    CONVERSATION_ANALYSIS_QUEUE_URL = {
      name = "${local.of["amplify-js"]}-conversation-analysis-queue"
      may  = ["SendMessage"]
    }
    CRITICAL_ERRORS_SQS_QUEUE_NAME = {
      name = "${local.of["admin"]}-critical-errors"
      may  = ["SendMessage"]
    }
  }

  platform_secrets = {
    LLM_ENDPOINTS_SECRETS_NAME = { name = "${var.environment}-openai-endpoints" }
    SECRETS_ARN_NAME           = { name = "${var.environment}-amplify-app-secrets" }
  }

  platform_defaults = { for variable, thing in merge(local.tables, local.buckets, local.queues, local.platform_secrets) :
    variable => thing.name
  }
  platform_name = merge(local.platform_defaults, var.platform_names)

  # What the task role may do, by ARN; nothing of the platform's without the platform.
  aws = "arn:${data.aws_partition.here.partition}"
  at  = "${var.aws_region}:${data.aws_caller_identity.here.account_id}"

  rights = {
    tables = { for variable, table in local.tables :
      "${local.aws}:dynamodb:${local.at}:table/${local.platform_name[variable]}" => [for action in table.may : "dynamodb:${action}"]
      if local.joins_platform
    }
    buckets = { for variable, bucket in local.buckets :
      "${local.aws}:s3:::${local.platform_name[variable]}" => [for action in bucket.may : "s3:${action}"]
      if local.joins_platform
    }
    queues = { for variable, queue in local.queues :
      "${local.aws}:sqs:${local.at}:${local.platform_name[variable]}" => [for action in queue.may : "sqs:${action}"]
      if local.joins_platform
    }
    # A secret's ARN ends in a hyphen and six characters that only AWS knows.
    secrets = concat(
      var.llm_endpoints_secret_arn != null ? [var.llm_endpoints_secret_arn] :
      local.joins_platform ? ["${local.aws}:secretsmanager:${local.at}:secret:${local.platform_name["LLM_ENDPOINTS_SECRETS_NAME"]}-??????"] : [],
      var.app_secrets_arn != null ? [var.app_secrets_arn] :
      local.joins_platform ? ["${local.aws}:secretsmanager:${local.at}:secret:${local.platform_name["SECRETS_ARN_NAME"]}-??????"] : [],
    )
    models = local.bedrock_any ? [
      "${local.aws}:bedrock:*::foundation-model/*",
      "${local.aws}:bedrock:*:${data.aws_caller_identity.here.account_id}:inference-profile/*",
      ] : flatten([for id in var.bedrock_models : [
        # An inference profile (us.anthropic...) sends calls to its model in several regions, and both are asked for.
        "${local.aws}:bedrock:*::foundation-model/${replace(id, "/^(us|us-gov|eu|apac|jp|au|ca|global)\\./", "")}",
        "${local.aws}:bedrock:*:${data.aws_caller_identity.here.account_id}:inference-profile/${id}",
    ]])
    guardrail = var.bedrock_guardrail_id == null ? null : "${local.aws}:bedrock:${local.at}:guardrail/${var.bedrock_guardrail_id}"
  }

  bedrock_any = coalesce(var.bedrock_any_model, local.joins_platform)
}
