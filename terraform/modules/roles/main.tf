# Two roles. ECS takes the first to start a task; the service itself acts as the second.

data "aws_caller_identity" "here" {}
data "aws_partition" "here" {}
data "aws_region" "here" {}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }

    # Only for tasks of this account: ECS cannot be talked into it by another.
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.here.account_id]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:${data.aws_partition.here.partition}:ecs:${data.aws_region.here.id}:${data.aws_caller_identity.here.account_id}:*"]
    }
  }
}

# --- To start: the image, the secrets, the log ------------------------------------------------------------------------

resource "aws_iam_role" "execution" {
  name               = "${var.name}-execution"
  description        = "Starts tasks of Amplify Chat: image, secrets, log."
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

data "aws_iam_policy_document" "execution" {
  statement {
    sid       = "Login"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"] # knows no resource
  }

  statement {
    sid       = "Pull"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = [var.repository_arn]
  }

  statement {
    sid       = "Log"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${var.log_group_arn}:*"]
  }

  statement {
    sid       = "Secrets"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = var.start_secret_arns
  }

  statement {
    sid       = "Decrypt"
    actions   = ["kms:Decrypt"]
    resources = var.kms_key_arns

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["secretsmanager.${data.aws_region.here.id}.${data.aws_partition.here.dns_suffix}"]
    }
  }
}

resource "aws_iam_role_policy" "execution" {
  name   = "start"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.execution.json
}

# --- To work: the platform's things and the models --------------------------------------------------------------------

resource "aws_iam_role" "task" {
  name               = "${var.name}-task"
  description        = "What Amplify Chat itself may do."
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

locals {
  own = length(var.policy_arns) == 0

  stores = sum([for kind in ["tables", "buckets", "queues", "secrets"] : length(var.rights[kind])])
  works  = local.stores > 0 || length(var.rights.models) > 0 || var.rights.guardrail != null

  # Statements are few and short this way: things with the same rights stand together, and a policy has a limit of
  # 10,240 characters.
  alike = { for kind in ["tables", "buckets", "queues"] :
    kind => { for arn, actions in var.rights[kind] : join(",", actions) => arn... }
  }
}

data "aws_iam_policy_document" "task" {
  dynamic "statement" {
    for_each = local.alike.tables

    content {
      actions   = split(",", statement.key)
      resources = flatten([for arn in statement.value : strcontains(statement.key, "Query") ? [arn, "${arn}/index/*"] : [arn]])
    }
  }

  dynamic "statement" {
    for_each = local.alike.buckets

    content {
      actions   = split(",", statement.key)
      resources = [for arn in statement.value : "${arn}/*"]
    }
  }

  dynamic "statement" {
    for_each = local.alike.queues

    content {
      actions   = split(",", statement.key)
      resources = statement.value
    }
  }

  dynamic "statement" {
    for_each = length(var.rights.secrets) > 0 ? [1] : []

    content {
      sid       = "Secrets"
      actions   = ["secretsmanager:GetSecretValue"]
      resources = var.rights.secrets
    }
  }

  dynamic "statement" {
    for_each = length(var.rights.models) > 0 ? [1] : []

    content {
      sid       = "Models"
      actions   = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]
      resources = var.rights.models
    }
  }

  dynamic "statement" {
    for_each = var.rights.guardrail == null ? [] : [1]

    content {
      sid       = "Guardrail"
      actions   = ["bedrock:ApplyGuardrail"]
      resources = [var.rights.guardrail]
    }
  }

  # Through the services that hold the data only, never by itself.
  dynamic "statement" {
    for_each = local.stores > 0 ? [1] : []

    content {
      sid       = "Decrypt"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = var.kms_key_arns

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values = [for service in ["dynamodb", "s3", "secretsmanager", "sqs"] :
          "${service}.${data.aws_region.here.id}.${data.aws_partition.here.dns_suffix}"
        ]
      }
    }
  }
}

resource "aws_iam_role_policy" "task" {
  count = local.own && local.works ? 1 : 0

  name   = "work"
  role   = aws_iam_role.task.id
  policy = data.aws_iam_policy_document.task.json
}

resource "aws_iam_role_policy_attachment" "given" {
  for_each = toset(var.policy_arns)

  role       = aws_iam_role.task.name
  policy_arn = each.value
}

# Apart, because the platform's policies know nothing of traces. The collector shares the role.
data "aws_iam_policy_document" "traces" {
  statement {
    sid       = "Traces"
    actions   = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
    resources = ["*"] # know no resource
  }
}

resource "aws_iam_role_policy" "traces" {
  count = var.tracing ? 1 : 0

  name   = "traces"
  role   = aws_iam_role.task.id
  policy = data.aws_iam_policy_document.traces.json
}
